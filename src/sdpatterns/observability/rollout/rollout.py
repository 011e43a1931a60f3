"""The steps of a rollout: hold, promote, roll back."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

from sdpatterns.core.forks import new_lock
from sdpatterns.core.notices import LISTENERS, Notice, tell
from sdpatterns.core.spelling import explained
from sdpatterns.observability.rollout.config import RolloutConfig
from sdpatterns.observability.rollout.decision import Counts, Evidence
from sdpatterns.observability.rollout.notices import RolloutAdvanced, RolloutCompleted, RolloutReverted

__all__ = ["Judgement", "Rollout", "Verdict"]

Verdict: TypeAlias = Literal["hold", "promote", "roll_back"]

_DOUBT = math.log(10.0)
"""No promotion while the failures are ten times as likely under a version that is worse."""


class Judgement(NamedTuple):
    """What to do now. `weight` is the share of traffic for the new version from now on; `doubt` runs from 0 to 1.

    At a `doubt` of 1 the new version is rolled back.
    """

    verdict: Verdict
    weight: float
    reason: str
    doubt: float


@explained
class Rollout:
    """Compares a new version with the old one and says when to give it more traffic, and when to take it back.

    ```python
    from sdpatterns.observability.rollout import Counts, Rollout

    rollout = Rollout("catalog 2.0", requests_min=100, step_min_s=30.0)
    assert rollout.weight == 0.05
    rollout.observe(Counts(0), Counts(0), now_s=0.0)

    well = rollout.observe(Counts(150), Counts(2_850), now_s=31.0)
    assert (well.verdict, well.weight) == ("promote", 0.25)

    bad = rollout.observe(Counts(170, failed=12), Counts(2_930, failed=1), now_s=35.0)
    assert (bad.verdict, bad.weight) == ("roll_back", 0.0)
    ```

    It moves no traffic. You send the share `weight` to the new version, count at the **callers**, because a version
    that is down counts nothing, and call `observe` every few seconds with the counts as they stand. Do what the verdict
    says:

    - `promote`: the new version has had `requests_min` requests and `step_min_s` seconds at this step, and there is
      no evidence against it. It gets the next of `weights`, and after the last one all traffic.
    - `roll_back`: it fails, or is slow, more than `ratio_max` times as often as the old version, or it did not pass a
      step within `step_max_s`.
    - `hold`: neither yet.

    **Keeps**: a version that fails and is slow at most `ratio_max` times as often as the old one is rolled back for
    failures or slowness with a probability of at most `false_alarm`, however often you look, over the whole rollout.
    A fault that harms both versions alike rolls nothing back. After `roll_back` or the last `promote` the verdict
    stays.

    **Costs** some microseconds a look and some hundred bytes. Time is what you hand in: seconds of any clock that
    only grows.
    """

    def __init__(
        self,
        name: str,
        *,
        weights: tuple[float, ...] = (0.05, 0.25, 0.5),
        requests_min: int = 200,
        step_min_s: float = 60.0,
        step_max_s: float = 1_800.0,
        ratio_max: float = 1.5,
        false_alarm: float = 0.001,
    ) -> None:
        self.name = name
        self.config = RolloutConfig(
            weights=tuple(weights),
            requests_min=requests_min,
            step_min_s=step_min_s,
            step_max_s=step_max_s,
            ratio_max=ratio_max,
            false_alarm=false_alarm,
        )
        self._lock = new_lock()
        self._evidence = {"failures": Evidence(ratio_max), "slow": Evidence(ratio_max)}
        self._seen: tuple[Counts, Counts] | None = None
        self._step = 0
        self._step_requests = 0
        self._step_began_s = 0.0
        self._end: Judgement | None = None

    @property
    def weight(self) -> float:
        """The share of the traffic that the new version is to get."""
        end = self._end
        return end.weight if end is not None else self.config.weights[self._step]

    @property
    def ended(self) -> bool:
        """Whether the new version has all traffic, or none."""
        return self._end is not None

    def observe(self, new: Counts, old: Counts, *, now_s: float) -> Judgement:
        """Judge the new version by what callers have seen of both. The first look starts the time and the counts."""
        with self._lock:
            judgement, notice = self._observed(new, old, now_s)
        if notice is not None and LISTENERS:
            tell(notice)
        return judgement

    def stop(self) -> Judgement:
        """Take the new version back by hand; changes nothing after the end."""
        with self._lock:
            if self._end is not None:
                return self._end
            judgement, notice = self._rolled_back("stopped", "it was stopped by hand")
        if LISTENERS:
            tell(notice)
        return judgement

    def _observed(self, new: Counts, old: Counts, now_s: float) -> tuple[Judgement, Notice | None]:
        if self._end is not None:
            return self._end, None
        if self._seen is None:
            self._seen, self._step_began_s = (new, old), now_s
        self._count(new, old, self._seen)
        for cause, words in (("failures", "failed"), ("slow", "were slow")):
            if self._doubt(cause) >= 1:
                often = f"more than {self.config.ratio_max:g} times as often as those of the old version"
                return self._rolled_back(cause, f"its requests {words} {often}")
        return self._moved(now_s - self._step_began_s, now_s)

    def _count(self, new: Counts, old: Counts, seen: tuple[Counts, Counts]) -> None:
        of_new, of_old = new.since(seen[0]), old.since(seen[1])
        self._seen = (new, old)
        self._step_requests += of_new.requests
        self._evidence["failures"].add(of_new.failed, of_new.requests, of_old.failed, of_old.requests)
        self._evidence["slow"].add(of_new.slow, of_new.requests, of_old.slow, of_old.requests)

    def _doubt(self, cause: str) -> float:
        """How far the evidence has come: 1 is enough. Both kinds of event share the permitted false alarms."""
        return max(0.0, self._evidence[cause].log / math.log(len(self._evidence) / self.config.false_alarm))

    def _moved(self, at_step_s: float, now_s: float) -> tuple[Judgement, Notice | None]:
        config = self.config
        doubt = max(map(self._doubt, self._evidence))
        missing = [
            words
            for is_missing, words in (
                (self._step_requests < config.requests_min, f"{self._step_requests} of {config.requests_min} requests"),
                (at_step_s < config.step_min_s, f"{at_step_s:.0f} of {config.step_min_s:g} s"),
                (max(each.log for each in self._evidence.values()) > _DOUBT, "more bad requests than expected"),
            )
            if is_missing
        ]
        if not missing:
            return self._promoted(doubt, now_s)
        if at_step_s >= config.step_max_s:
            return self._rolled_back("silence", f"it did not pass the step in {config.step_max_s:g} s: {missing[0]}")
        return Judgement("hold", self.weight, ", ".join(missing), doubt), None

    def _promoted(self, doubt: float, now_s: float) -> tuple[Judgement, Notice | None]:
        passed = f"passed {self.weight:.0%} of the traffic with {self._step_requests} requests"
        self._step += 1
        self._step_requests, self._step_began_s = 0, now_s
        if self._step < len(self.config.weights):
            weight = self.weight
            return Judgement("promote", weight, passed, doubt), RolloutAdvanced(name=self.name, weight=weight)
        self._end = Judgement("promote", 1.0, passed, doubt)
        return self._end, RolloutCompleted(name=self.name)

    def _rolled_back(self, cause: str, reason: str) -> tuple[Judgement, Notice]:
        doubt = min(1.0, max(map(self._doubt, self._evidence)))
        self._end = Judgement("roll_back", 0.0, reason, doubt)
        return self._end, RolloutReverted(name=self.name, cause=cause)
