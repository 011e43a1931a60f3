"""Whose clock a store goes by, and by how much two of its clients may disagree.

| the store | its clock | two clients disagree by |
|---|---|---|
| gives the time together with what it reads: memory, Redis, SQL | `SERVER` | nothing |
| has no clock that a step could read: etcd | `Skewed(by_s)`: each client brings its own | up to `by_s` |

Where clients disagree, the holder of something may have more time left by its own clock than another
client's clock shows. So a step that takes what another client had asks for `by_us` more:

```
lease ends by the cell     |------ by_us ------|
by the holder's clock      it stops here at the latest
by any other clock                             from here on others may take it
```
"""

from __future__ import annotations

import math

from sdpatterns.core.ranges import seconds

__all__ = ["SERVER", "Skewed", "StoreClock"]


class StoreClock:
    """A clock that all clients of a store share: see `SERVER`."""

    __slots__ = ()

    @property
    def by_us(self) -> int:
        """Microseconds by which two clients may disagree."""
        return 0

    def __repr__(self) -> str:
        return "SERVER"


SERVER = StoreClock()
"""The store's own. Times of two clients are in the order in which their steps were made."""


class Skewed(StoreClock):
    """The clocks of the clients, any two of which show times at most `by_s` apart.

    The store cannot check it: who runs the clients keeps their clocks together, mostly by NTP. Raises
    `ValueError` for a bound that is no finite number above 0.
    """

    __slots__ = ("by_s",)

    def __init__(self, by_s: float) -> None:
        self.by_s = seconds("by_s", by_s)

    @property
    def by_us(self) -> int:
        return math.ceil(self.by_s * 1_000_000)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Skewed) and other.by_s == self.by_s

    def __hash__(self) -> int:
        return hash(self.by_s)

    def __repr__(self) -> str:
        return f"Skewed({self.by_s:g})"
