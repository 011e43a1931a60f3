"""When requests are due: stages with a rate that stays or changes evenly."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterator

from sdpatterns.core.ranges import number, seconds

__all__ = ["LoadStage", "Profile"]

_RATE_MAX = 1e6


@dataclasses.dataclass(frozen=True, slots=True)
class LoadStage:
    """`for_s` seconds with `per_s` requests a second, or with a rate that goes evenly from there to `to_per_s`."""

    for_s: float
    per_s: float
    to_per_s: float | None = None

    def __post_init__(self) -> None:
        seconds("for_s", self.for_s)
        number("per_s", self.per_s, 0, _RATE_MAX)
        if self.to_per_s is not None:
            number("to_per_s", self.to_per_s, 0, _RATE_MAX)

    @property
    def requests(self) -> float:
        """How many requests are to be expected."""
        return self.for_s * (self.per_s + self._last) / 2

    @property
    def _last(self) -> float:
        return self.per_s if self.to_per_s is None else self.to_per_s

    def instant(self, requests: float) -> float:
        """After how many seconds that many requests are to be expected."""
        slope = (self._last - self.per_s) / self.for_s
        # The root of per_s * t + slope * t * t / 2 = requests, in the form that also works for a slope of 0.
        root = math.sqrt(max(0.0, self.per_s**2 + 2 * slope * requests))
        return min(self.for_s, 2 * requests / (self.per_s + root)) if requests else 0.0


class Profile:
    """Stages, one after the other.

    ```python
    from sdpatterns.testing.load import Profile, LoadStage

    spike = Profile(LoadStage(60, 20), LoadStage(10, 200), LoadStage(60, 20))
    assert spike.for_s == 130
    assert len(list(spike.due_s(seed=None))) == 4_400
    ```
    """

    def __init__(self, *stages: LoadStage) -> None:
        if not stages:
            raise ValueError("a profile needs a stage: Profile(LoadStage(for_s=60, per_s=20))")
        self.stages = stages

    @property
    def for_s(self) -> float:
        """How long all stages take."""
        return sum(stage.for_s for stage in self.stages)

    def due_s(self, seed: int | None = 0) -> Iterator[float]:
        """When each request is due, in seconds from the start.

        With a seed they come at random (a Poisson process), as those of many independent users do; without one
        at equal distances.
        """
        dice = None if seed is None else random.Random(seed)
        began_s = came = 0.0
        due = _gap(dice)
        for stage in self.stages:
            while due <= came + stage.requests:
                yield began_s + stage.instant(due - came)
                due += _gap(dice)
            began_s, came = began_s + stage.for_s, came + stage.requests


def _gap(dice: random.Random | None) -> float:
    """The distance to the next request where one is expected in each unit of time."""
    return 1.0 if dice is None else dice.expovariate(1.0)
