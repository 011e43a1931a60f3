"""Counting calls over a window in constant time.

A verdict on a call is two bits: `FAILED` and `SLOW`; without any the call was fine. A tally takes
verdicts and keeps running sums:

```
CallsTally     ring of bytes, one per call; the byte it overwrites is taken off the sums
SecondsTally   ring of steps in time; steps that are too old are taken off the sums
StreakTally    no window: only failures in a row
```

A tally is also the generation of a circuit: it is replaced when the circuit closes, so a call that
ends under another tally than it began under is recognized by identity.
"""

from __future__ import annotations

from typing import TypeAlias

from sdpatterns.resilience.breaker.config import Window

__all__ = ["FAILED", "FINE", "SLOW", "CallsTally", "SecondsTally", "StreakTally", "Tally"]

FINE = 0
FAILED = 1
SLOW = 2


class StreakTally:
    """Only failures in a row.

    In every tally `spotless` says that one more fine call would change nothing, so that it need not
    be counted.
    """

    __slots__ = ("calls", "failures", "slow", "spotless", "streak")

    def __init__(self) -> None:
        self.calls = 0
        self.failures = 0
        self.slow = 0
        self.streak = 0
        self.spotless = True

    def fine(self, now_s: float) -> None:
        """Count one fine call."""
        self.streak = 0
        self.spotless = True

    def bad(self, verdict: int, now_s: float) -> None:
        """Count one call that failed, or was slow, or both."""
        self.streak = self.streak + 1 if verdict & FAILED else 0
        self.spotless = not self.streak

    def expire(self, now_s: float) -> None:
        """Forget what is too old; here nothing ever is."""


class CallsTally:
    """The last `size` calls. Full of fine ones it is `spotless`."""

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

    def fine(self, now_s: float) -> None:
        """Count one fine call in place of the oldest."""
        at = self._at
        if self._ring[at]:
            self._drop(at)
        at += 1
        self._at = at if at < self._size else 0
        if self.calls < self._size:
            self.calls += 1
        elif not self.failures and not self.slow:
            self.spotless = True
        self.streak = 0

    def bad(self, verdict: int, now_s: float) -> None:
        """Count one call that failed, or was slow, or both, in place of the oldest."""
        at = self._at
        self._drop(at)
        self._ring[at] = verdict
        self._at = (at + 1) % self._size
        self.calls = min(self.calls + 1, self._size)
        self.failures += verdict & FAILED
        self.slow += verdict >> 1
        self.streak = self.streak + 1 if verdict & FAILED else 0
        self.spotless = False

    def _drop(self, at: int) -> None:
        leaving = self._ring[at]
        self.failures -= leaving & FAILED
        self.slow -= leaving >> 1
        self._ring[at] = FINE

    def expire(self, now_s: float) -> None:
        """Forget what is too old; here nothing ever is."""


class SecondsTally:
    """The calls of the last `span_s` seconds, forgotten step by step; the newest step still fills.

    The ring holds the counts of each step that is over. Those of the newest one are what was added
    to the sums since it began, so that a fine call costs one addition.
    """

    __slots__ = (
        "_began",
        "_passed",
        "_step",
        "_steps",
        "_until_s",
        "_width_s",
        "calls",
        "failures",
        "slow",
        "spotless",
        "streak",
    )  # fmt: skip

    def __init__(self, span_s: float, steps: int) -> None:
        self._width_s = span_s / steps
        self._steps = steps
        self._passed = [(0, 0, 0)] * steps
        self._began = (0, 0, 0)
        self._step = 0
        self._until_s = 0.0
        self.calls = 0
        self.failures = 0
        self.slow = 0
        self.streak = 0
        self.spotless = False

    def fine(self, now_s: float) -> None:
        """Count one fine call, and forget what is too old."""
        if now_s >= self._until_s:
            self.expire(now_s)
        self.calls += 1
        self.streak = 0

    def bad(self, verdict: int, now_s: float) -> None:
        """Count one call that failed, or was slow, or both, and forget what is too old."""
        if now_s >= self._until_s:
            self.expire(now_s)
        self.calls += 1
        self.failures += verdict & FAILED
        self.slow += verdict >> 1
        self.streak = self.streak + 1 if verdict & FAILED else 0

    def expire(self, now_s: float) -> None:
        """Take the steps that are too old off the sums, each once."""
        step = int(now_s / self._width_s)
        if step <= self._step:
            return
        self._keep_step()
        for over in range(max(self._step + 1, step - self._steps + 1), step + 1):
            self._drop(over % self._steps)
        self._step = step
        self._until_s = (step + 1) * self._width_s
        self._began = (self.calls, self.failures, self.slow)

    def _keep_step(self) -> None:
        calls, failures, slow = self._began
        self._passed[self._step % self._steps] = (
            self.calls - calls,
            self.failures - failures,
            self.slow - slow,
        )

    def _drop(self, at: int) -> None:
        calls, failures, slow = self._passed[at]
        self.calls -= calls
        self.failures -= failures
        self.slow -= slow
        self._passed[at] = (0, 0, 0)


Tally: TypeAlias = StreakTally | CallsTally | SecondsTally


def new_tally(window: Window | None) -> Tally:
    """An empty tally for this window; without one, for failures in a row only."""
    if window is None:
        return StreakTally()
    if window.calls_max is not None:
        return CallsTally(window.calls_max)
    assert window.span_s is not None
    return SecondsTally(window.span_s, window.steps)
