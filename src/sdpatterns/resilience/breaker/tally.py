"""Counting calls over a window in constant time.

A verdict on a call is two bits: `FAILED` and `SLOW`. A tally takes verdicts and keeps running sums:

```
CallsTally     ring of bytes, one per call; the byte it overwrites is taken off the sums
SecondsTally   ring of buckets, one per step of time; a bucket that is passed is taken off the sums
StreakTally    no window: only failures in a row
```

A tally is also the generation of a circuit: it is replaced on every change of state, so a call that
ends under another tally than it began under is told by identity.
"""

from __future__ import annotations

from typing import TypeAlias

from sdpatterns.resilience.breaker.config import Window

__all__ = ["FAILED", "FINE", "SLOW", "CallsTally", "SecondsTally", "StreakTally", "Tally"]

FINE = 0
FAILED = 1
SLOW = 2


class StreakTally:
    """Failures in a row, and nothing else."""

    __slots__ = ("calls", "failures", "slow", "spotless", "streak")

    def __init__(self) -> None:
        self.calls = 0
        self.failures = 0
        self.slow = 0
        self.streak = 0
        self.spotless = True
        """Whether one more fine call would change nothing, so that it need not be told."""

    def add(self, verdict: int, now_s: float) -> None:
        """Count one call."""
        self.streak = self.streak + 1 if verdict & FAILED else 0
        self.spotless = not self.streak

    def expire(self, now_s: float) -> None:
        """Nothing here goes by with time."""


class CallsTally:
    """The last `size` calls. Full of fine calls it is `spotless`: another one changes nothing."""

    __slots__ = ("_at", "_ring", "_size", "calls", "failures", "slow", "spotless", "streak")

    def __init__(self, size: int) -> None:
        self._ring = bytearray(size)
        self._size = size
        self._at = 0
        self.calls = 0
        self.failures = 0
        self.slow = 0
        self.streak = 0
        self.spotless = False

    def add(self, verdict: int, now_s: float) -> None:
        """Count one call in place of the oldest."""
        at = self._at
        if self.calls < self._size:
            self.calls += 1
        else:
            leaving = self._ring[at]
            self.failures -= leaving & FAILED
            self.slow -= leaving >> 1
        self._ring[at] = verdict
        self._at = at + 1 if at + 1 < self._size else 0
        self.failures += verdict & FAILED
        self.slow += verdict >> 1
        self.streak = self.streak + 1 if verdict & FAILED else 0
        self.spotless = self.calls == self._size and not self.failures and not self.slow

    def expire(self, now_s: float) -> None:
        """Nothing here goes by with time."""


class SecondsTally:
    """The calls of the last `span_s` seconds, in `buckets` steps; the newest step is still filling."""

    __slots__ = (
        "_buckets", "_calls", "_failures", "_slow", "_step", "_width_s",
        "calls", "failures", "slow", "spotless", "streak",
    )  # fmt: skip

    def __init__(self, span_s: float, buckets: int) -> None:
        self._width_s = span_s / buckets
        self._buckets = buckets
        self._calls = [0] * buckets
        self._failures = [0] * buckets
        self._slow = [0] * buckets
        self._step = 0
        self.calls = 0
        self.failures = 0
        self.slow = 0
        self.streak = 0
        self.spotless = False
        """Never: a fine call lowers the rates."""

    def add(self, verdict: int, now_s: float) -> None:
        """Count one call, and forget those whose time has passed."""
        self.expire(now_s)
        at = self._step % self._buckets
        self._calls[at] += 1
        self.calls += 1
        if verdict:
            failed, slow = verdict & FAILED, verdict >> 1
            self._failures[at] += failed
            self._slow[at] += slow
            self.failures += failed
            self.slow += slow
        self.streak = self.streak + 1 if verdict & FAILED else 0

    def expire(self, now_s: float) -> None:
        """Forget the buckets whose time has passed, each once."""
        step = int(now_s / self._width_s)
        for passed in range(max(self._step + 1, step - self._buckets + 1), step + 1):
            at = passed % self._buckets
            self.calls -= self._calls[at]
            self.failures -= self._failures[at]
            self.slow -= self._slow[at]
            self._calls[at] = self._failures[at] = self._slow[at] = 0
        self._step = max(step, self._step)


Tally: TypeAlias = StreakTally | CallsTally | SecondsTally


def new_tally(window: Window | None) -> Tally:
    """An empty tally for this window; without one, for failures in a row only."""
    if window is None:
        return StreakTally()
    if window.calls_max is not None:
        return CallsTally(window.calls_max)
    assert window.span_s is not None
    return SecondsTally(window.span_s, window.buckets)
