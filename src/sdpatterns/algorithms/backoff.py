"""How long to wait before trying again, so that many clients do not come back together.

```
bound(n) = min(max_s, base_s * 2**n)          n = 0 before the first repeat
full_jitter    anywhere from 0 to bound(n)
decorrelated   anywhere from base_s to three times the last delay, at most max_s
exponential    bound(n)
constant       base_s
```

Source: Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

__all__ = ["BACKOFFS", "Backoff", "Delay"]

Backoff: TypeAlias = Literal["full_jitter", "decorrelated", "exponential", "constant"]
"""The name of a way to back off."""

Delay: TypeAlias = Callable[[int, float, float, float, float], float]
"""`(repeat, previous_s, base_s, max_s, draw)` to seconds; `repeat` counts from 0, `draw` is random
in [0, 1)."""

_DOUBLINGS_MAX = 60
"""Beyond this a double is at any bound anyone sets, and not yet at infinity."""


def _bound(repeat: int, base_s: float, max_s: float) -> float:
    return min(max_s, base_s * float(1 << min(repeat, _DOUBLINGS_MAX)))


def full_jitter(repeat: int, previous_s: float, base_s: float, max_s: float, draw: float) -> float:
    """Anywhere up to the bound: spreads clients best, and sometimes comes back at once."""
    return _bound(repeat, base_s, max_s) * draw


def decorrelated(repeat: int, previous_s: float, base_s: float, max_s: float, draw: float) -> float:
    """From `base_s` to three times the last delay: grows by chance, never comes back at once."""
    before = previous_s if repeat else base_s
    return min(max_s, base_s + (3.0 * before - base_s) * draw)


def exponential(repeat: int, previous_s: float, base_s: float, max_s: float, draw: float) -> float:
    """The bound itself: for a single client, or where another part brings the jitter."""
    return _bound(repeat, base_s, max_s)


def constant(repeat: int, previous_s: float, base_s: float, max_s: float, draw: float) -> float:
    """Always `base_s`."""
    return base_s


BACKOFFS: dict[str, Delay] = {
    "full_jitter": full_jitter,
    "decorrelated": decorrelated,
    "exponential": exponential,
    "constant": constant,
}
