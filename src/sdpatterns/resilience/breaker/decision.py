"""One circuit: a machine changed in place.

```
            a condition is met                   open time over, next call
 CLOSED ------------------------> OPEN -------------------------------------> HALF_OPEN
    ^                              ^                                           |     |
    |                              +----- a probe failed, or never came back --+     |
    +---------------------------------- probe_successes probes succeeded ------------+

 mode   AUTO       as drawn
        FORCED     open until set by hand again
        DISABLED   everything passes, nothing counts
        OBSERVING  as drawn, but a refusal is only reported
```

It reads no clock, draws no random number and takes no lock, because the guard holds the lock of the circuit
around each call and hands the rest in. A call is admitted under a *term* (a tally, or the probes of
one half-open time), and its outcome counts for that term only.

Source: Nygard, "Release It!" (2007), for the three states.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, TypeAlias

from sdpatterns.resilience.breaker.config import BreakerConfig
from sdpatterns.resilience.breaker.tally import SLOW, Tally, new_tally

__all__ = ["UNCOUNTED", "Admission", "Circuit", "CircuitMode", "CircuitState", "StateChange", "Term"]


class CircuitState(Enum):
    """Where the circuit stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitMode(Enum):
    """Who decides: the calls, or a person."""

    AUTO = "auto"
    FORCED = "forced"
    DISABLED = "disabled"
    OBSERVING = "observing"


class Probes:
    """One half-open time: when the probes began that are out, and how many came back well.

    One that comes back counts as the oldest, so that none is ever called late before its time.
    """

    __slots__ = ("began", "successes")
    spotless = False

    def __init__(self) -> None:
        self.began: deque[float] = deque()
        self.successes = 0


class Uncounted:
    """The term of calls that do not count."""

    __slots__ = ()
    spotless = True

    def __repr__(self) -> str:
        return "UNCOUNTED"


UNCOUNTED = Uncounted()
Term: TypeAlias = Tally | Probes | Uncounted


class StateChange(NamedTuple):
    """The circuit changed its state. `open_s` is given where it opened for a time."""

    state: CircuitState
    reason: str
    open_s: float | None = None


class Admission(NamedTuple):
    """What became of a call: its term, or None for a refusal.

    `refused` also holds where the circuit only observes and let the call pass.
    """

    term: Term | None
    refused: bool = False
    retry_after_s: float | None = None
    change: StateChange | None = None


_UNCOUNTED = Admission(UNCOUNTED)


class Circuit:
    """The state of one circuit. `closed` is its tally while calls pass freely; otherwise it is None.

    Only the guard uses `lock` and `used_s`. `tally` is the last one, also once the circuit has opened.
    """

    __slots__ = (
        "_calls_needed", "_config", "_growths", "_probes", "_random", "_window",
        "closed", "key", "lock", "mode", "open_until_s", "state", "tally", "used_s",
    )  # fmt: skip

    def __init__(self, config: BreakerConfig, random: Callable[[], float], key: str = "") -> None:
        self.key = key
        self.lock = threading.Lock()
        self.used_s = 0.0
        self._config = config
        self._random = random
        self._window = config.window if config.has_rates else None
        self._calls_needed = config.calls_needed
        self._growths = 0
        self._probes: Probes | None = None
        self.mode = CircuitMode.AUTO
        self.state = CircuitState.CLOSED
        self.tally = new_tally(self._window)
        self.closed: Tally | None = self.tally
        self.open_until_s: float | None = None

    def admit(self, now_s: float) -> Admission:
        """Let a call in or refuse it."""
        if self.mode is CircuitMode.DISABLED:
            return _UNCOUNTED
        if self.state is CircuitState.CLOSED:
            return Admission(self.tally)
        change = None
        if self._is_over(now_s):
            change = self._half_open()
        probes = self._probes
        # A probe that hangs must not keep the circuit half open without end, so it counts as failed after a while.
        # That is checked here, by the next call, because nothing else would wake at that time.
        if probes is not None and probes.began and now_s >= probes.began[0] + self._config.half_open_max_s:
            change = self._open(now_s, "probe_time")
        elif probes is not None and len(probes.began) < self._config.probes:
            probes.began.append(now_s)
            return Admission(probes, change=change)
        after_s = None if self.open_until_s is None else max(0.0, self.open_until_s - now_s)
        term = UNCOUNTED if self.mode is CircuitMode.OBSERVING else None
        return Admission(term, refused=True, retry_after_s=after_s, change=change)

    def _is_over(self, now_s: float) -> bool:
        return self.open_until_s is not None and now_s >= self.open_until_s

    def settle(self, term: Term, verdict: int, now_s: float) -> StateChange | None:
        """Count the outcome of a call for the term it was admitted under, if that still holds.

        Only a call that failed or was slow opens a circuit, never a fine one by filling the window.
        """
        tally = self.closed
        if tally is not None and term is tally:
            if not verdict:
                tally.fine(now_s)
                return None
            tally.bad(verdict, now_s)
            reason = self._met(tally)
            return self._open(now_s, reason) if reason else None
        # Any other term is over. A slow call that began before the circuit opened says nothing about now, and
        # would otherwise close or open a circuit that later calls have judged.
        if term is not self._probes or self._probes is None:
            return None
        self._probes.began.popleft()
        # If no rate of slow calls is set, a slow probe is a good one.
        counted = verdict if self._config.slow_call_rate is not None else verdict & ~SLOW
        if counted:
            return self._open(now_s, "probe")
        self._probes.successes += 1
        if self._probes.successes >= self._config.probe_successes:
            return self.close("probes")
        return None

    def release(self, term: Term) -> None:
        """A call ended and says nothing about the callee: its place as a probe is free again."""
        if term is self._probes and self._probes is not None:
            self._probes.began.popleft()

    def _met(self, tally: Tally) -> str:
        """The condition that opens the circuit, or nothing."""
        config = self._config
        if config.consecutive is not None and tally.streak >= config.consecutive:
            return "consecutive"
        if tally.calls < self._calls_needed:
            return ""
        if config.failure_rate is not None and tally.failures / tally.calls >= config.failure_rate:
            return "failure_rate"
        if config.slow_call_rate is not None and tally.slow / tally.calls >= config.slow_call_rate:
            return "slow_call_rate"
        return ""

    def _open(self, now_s: float, reason: str) -> StateChange:
        config = self._config
        open_s = min(config.open_max_s, config.open_s * config.open_growth**self._growths)
        # Not raised further once the longest time is reached, because the power would overflow some day.
        if config.open_growth**self._growths < config.open_max_s / config.open_s:
            self._growths += 1
        # Jitter, because the breakers of many processes open together and would all probe in the same moment.
        open_s *= 1.0 + config.open_jitter * self._random()
        self._enter(CircuitState.OPEN, now_s + open_s)
        return StateChange(CircuitState.OPEN, reason, open_s)

    def _half_open(self) -> StateChange:
        self._enter(CircuitState.HALF_OPEN, None)
        self._probes = Probes()
        return StateChange(CircuitState.HALF_OPEN, "open_time")

    def close(self, reason: str = "manual") -> StateChange:
        """Let all calls pass, and count from zero."""
        self._growths = 0
        if self.mode is CircuitMode.FORCED or self.mode is CircuitMode.DISABLED:
            self.mode = CircuitMode.AUTO
        self._enter(CircuitState.CLOSED, None)
        return StateChange(CircuitState.CLOSED, reason)

    def _enter(self, state: CircuitState, open_until_s: float | None) -> None:
        self.state = state
        self.open_until_s = open_until_s
        self._probes = None
        self.closed = None
        # A new tally, because calls still under way were admitted under the old one and must not count here.
        if state is CircuitState.CLOSED:
            self.closed = self.tally = new_tally(self._window)

    def is_forgettable(self, now_s: float) -> bool:
        """Whether it can be dropped when idle: it was not set by hand, and it refuses no call now."""
        is_held = self.open_until_s is not None and now_s < self.open_until_s
        return self.mode is CircuitMode.AUTO and not is_held

    def force_open(self) -> StateChange:
        """Refuse every call until you set it by hand again."""
        self.mode = CircuitMode.FORCED
        self._enter(CircuitState.OPEN, None)
        return StateChange(CircuitState.OPEN, "manual")

    def disable(self) -> StateChange | None:
        """Let everything pass uncounted until it is set by hand again."""
        was = self.state
        self._enter(CircuitState.CLOSED, None)
        self.mode = CircuitMode.DISABLED
        self.closed = None
        return None if was is CircuitState.CLOSED else StateChange(CircuitState.CLOSED, "manual")

    def automatic(self, mode: CircuitMode) -> StateChange | None:
        """Let the calls decide, for real or (`OBSERVING`) only for the record.

        A circuit that was forced open is half-open from here on: it asks the callee first.
        """
        before, self.mode = self.mode, mode
        if before is CircuitMode.FORCED:
            return self._half_open()
        if before is CircuitMode.DISABLED:
            self._enter(CircuitState.CLOSED, None)
        return None
