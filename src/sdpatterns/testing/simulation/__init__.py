"""Seeded worlds: the real code of several nodes in virtual time, over a store with bad luck.

```
python -m sdpatterns.testing.simulation --world limiter --seeds 0:10000
python -m sdpatterns.testing.simulation --world limiter --seed 4711       # one of them again
```

One seed decides who runs first, how long everything takes, what is lost, doubled or late, how clocks
jump, who is cancelled, who stands still and who crashes. Checkers that know nothing of the code judge the history.
`simulate(world, seed)` runs one seed; `World` is what a world of your own has to be, and a `Cluster` of nodes what
it is mostly made of.
"""

from sdpatterns.testing.simulation.cluster import TROUBLES, Cluster, Node, Program, Trouble
from sdpatterns.testing.simulation.luck import Struck
from sdpatterns.testing.simulation.world import Outcome, Run, World, simulate

__all__ = ["TROUBLES", "Cluster", "Node", "Outcome", "Program", "Run", "Struck", "Trouble", "World", "simulate"]
