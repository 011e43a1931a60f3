"""Seeded worlds: the real code of several nodes in virtual time, over a store with bad luck.

```
python -m sdpatterns.testing.simulation --world limiter --seeds 0:10000
python -m sdpatterns.testing.simulation --world limiter --seed 4711       # one of them again
```

One seed decides who runs first, how long everything takes, what is lost, doubled or late, how the
store's clock jumps and who is cancelled. Checkers that know nothing of the code judge the history.
`simulate(world, seed)` runs one seed; `World` is what a world of your own has to be.
"""

from sdpatterns.testing.simulation.world import Outcome, Run, World, simulate

__all__ = ["Outcome", "Run", "World", "simulate"]
