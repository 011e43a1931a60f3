"""When a circuit opens, for how long, and what closes it."""

from __future__ import annotations

import dataclasses
from typing import Self

from sdpatterns.core.ranges import number, ratio, seconds, whole
from sdpatterns.core.spelling import explained

__all__ = ["BreakerConfig", "Window"]

_CALLS_LIMIT = 1_000_000
_CALLS_MIN = 10
_STEPS = 30


@explained
@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """The calls from which a breaker computes its rates: the last `n`, or those of the last `s` seconds.

    Built with `Window.calls(100)` or `Window.seconds(60)`.
    """

    calls_max: int | None = None
    span_s: float | None = None
    steps: int = _STEPS

    @classmethod
    def calls(cls, calls_max: int, /) -> Self:
        """The last `calls_max` calls. One byte each."""
        whole("Window.calls", calls_max, 1, _CALLS_LIMIT)
        return cls(calls_max=calls_max)

    @classmethod
    def seconds(cls, span_s: float, /, *, steps: int = _STEPS) -> Self:
        """The last `span_s` seconds, forgotten a step (`span_s / steps`) at a time."""
        seconds("Window.seconds", span_s)
        whole("steps", steps, 1, 10_000)
        return cls(span_s=float(span_s), steps=steps)

    def __str__(self) -> str:
        if self.calls_max is not None:
            return f"{self.calls_max} calls"
        return f"{self.span_s:g} s"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BreakerConfig:
    """The settings of a circuit breaker, checked. `CircuitBreaker` says what each means."""

    failure_rate: float | None = None
    consecutive: int | None = None
    slow_call_s: float | None = None
    slow_call_rate: float | None = None
    window: Window = dataclasses.field(default_factory=lambda: Window.calls(100))
    calls_min: int | None = None
    open_s: float = 30.0
    open_growth: float = 1.0
    open_max_s: float = 600.0
    open_jitter: float = 0.0
    probes: int = 1
    probe_successes: int = 1
    half_open_max_s: float = 60.0

    def __post_init__(self) -> None:
        self._check_conditions()
        seconds("open_s", self.open_s)
        seconds("open_max_s", self.open_max_s)
        if self.open_max_s < self.open_s:
            raise ValueError(f"open_max_s must be at least open_s ({self.open_s:g}), got {self.open_max_s!r}")
        number("open_growth", self.open_growth, 1, 100)
        number("open_jitter", self.open_jitter, 0, 1)
        whole("probes", self.probes, 1, 10_000)
        whole("probe_successes", self.probe_successes, 1, 10_000)
        seconds("half_open_max_s", self.half_open_max_s)

    def _check_conditions(self) -> None:
        if self.failure_rate is not None:
            ratio("failure_rate", self.failure_rate)
        if self.consecutive is not None:
            whole("consecutive", self.consecutive, 1, _CALLS_LIMIT)
        if self.slow_call_rate is not None:
            ratio("slow_call_rate", self.slow_call_rate)
        if self.slow_call_s is not None:
            seconds("slow_call_s", self.slow_call_s)
        if (self.slow_call_s is None) != (self.slow_call_rate is None):
            raise ValueError("slow_call_s and slow_call_rate need each other, got only one")
        if not isinstance(self.window, Window):
            # A setting like any other: a bad one is a ValueError.
            raise ValueError(f"window must be Window.calls(n) or Window.seconds(s), got {self.window!r}")  # noqa: TRY004
        if self.calls_min is not None:
            whole("calls_min", self.calls_min, 1, self.window.calls_max or _CALLS_LIMIT)

    @property
    def has_rates(self) -> bool:
        """Whether a window is needed at all."""
        return self.failure_rate is not None or self.slow_call_rate is not None

    @property
    def calls_needed(self) -> int:
        """How many calls the window must hold before a rate counts."""
        if self.calls_min is not None:
            return self.calls_min
        return min(_CALLS_MIN, self.window.calls_max or _CALLS_MIN)

    def conditions(self) -> str:
        """What opens it, in words."""
        found = []
        if self.consecutive is not None:
            found.append(f"{self.consecutive} failures in a row")
        if self.failure_rate is not None:
            found.append(f"{self.failure_rate:.0%} failed")
        if self.slow_call_rate is not None:
            found.append(f"{self.slow_call_rate:.0%} slower than {self.slow_call_s:g} s")
        over = f" of {self.window}" if self.has_rates else ""
        return " or ".join(found) + over
