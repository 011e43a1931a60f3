"""How much traffic a new version gets at each step, and how much worse it may be than the old one."""

from __future__ import annotations

import dataclasses

from sdpatterns.core.ranges import number, ratio, seconds, whole

__all__ = ["RolloutConfig"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RolloutConfig:
    """The settings of a rollout, checked. `Rollout` says what each means."""

    weights: tuple[float, ...] = (0.05, 0.25, 0.5)
    requests_min: int = 200
    step_min_s: float = 60.0
    step_max_s: float = 1_800.0
    ratio_max: float = 1.5
    false_alarm: float = 0.001

    def __post_init__(self) -> None:
        if not self.weights or list(self.weights) != sorted(set(self.weights)):
            raise ValueError(
                f"weights must be one share or more, each larger than the one before, got {self.weights!r}"
            )
        for weight in self.weights:
            ratio("each of weights", weight)
        if self.weights[-1] == 1:
            raise ValueError("weights must stay below 1, because with all traffic there is no version to compare with")
        whole("requests_min", self.requests_min, 1)
        seconds("step_min_s", self.step_min_s, zero=True)
        seconds("step_max_s", self.step_max_s)
        if self.step_max_s <= self.step_min_s:
            raise ValueError(f"step_max_s must be above step_min_s ({self.step_min_s:g}), got {self.step_max_s!r}")
        number("ratio_max", self.ratio_max, 1, 100)
        number("false_alarm", self.false_alarm, 1e-9, 0.1)
