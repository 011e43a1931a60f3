"""The default: GCRA, the generic cell rate algorithm, a token bucket with one instant as its whole state.

```
      after = max(state, now) + cost * interval
      |<------------ tolerance = burst * interval ----------->|
  ----+--------------------+----------------------------------+---->  time
     now                 state                        allowed up to here
```

Source: ITU-T I.371 (GCRA); Turner, "New directions in communications" (1986).
"""

from __future__ import annotations

import dataclasses

from sdpatterns.traffic.ratelimit.algorithm import BuiltIn, Numbers
from sdpatterns.traffic.ratelimit.config import Rate

__all__ = ["GCRA"]


@dataclasses.dataclass(frozen=True, repr=False)
class GCRA(BuiltIn, name="gcra", initial=(0,)):
    """A token bucket: `burst` at once, and one more each interval.

    Keeps: in any time t at most `burst + t / interval` pass. Costs: one instant for each rate, and in
    memory a fast path.
    """

    may_start_late = True

    def params(self, rate: Rate) -> Numbers:
        """The interval, and how far ahead of now the instant may be."""
        return rate.interval_us, rate.tolerance_us

    def advance(self, state: Numbers, now_us: int, cost: int, params: Numbers) -> tuple[Numbers, int]:
        """The instant moved on by the cost, and when it is near enough."""
        after_us = max(state[0], now_us) + cost * params[0]
        return (after_us,), max(now_us, after_us - params[1])

    def idle_at_us(self, state: Numbers, params: Numbers) -> int:
        """The instant itself."""
        return state[0]

    def remaining(self, state: Numbers, now_us: int, params: Numbers) -> int:
        """How many intervals fit between the instant and the tolerance."""
        return max(0, (params[1] - max(0, state[0] - now_us)) // params[0])
