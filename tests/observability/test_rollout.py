"""A rollout promotes a version that is as good, and rolls back one that is worse."""

from __future__ import annotations

import random

import pytest

from sdpatterns import listen
from sdpatterns.core.notices import Notice
from sdpatterns.observability.rollout import (
    Counts,
    Rollout,
    RolloutAdvanced,
    RolloutCompleted,
    RolloutReverted,
)


def rollout(**settings: object) -> Rollout:
    usual: dict[str, object] = {"requests_min": 100, "step_min_s": 10.0, "step_max_s": 100.0}
    return Rollout("v2", **{**usual, **settings})  # type: ignore[arg-type]  # each test hands in what it is about


def started(**settings: object) -> Rollout:
    """One that has had its first look, at nothing, at 0 s."""
    tried = rollout(**settings)
    tried.observe(Counts(0), Counts(0), now_s=0.0)
    return tried


def test_a_version_that_is_as_good_gets_all_traffic_step_by_step() -> None:
    tried, told = started(), list[Notice]()
    with listen(told.append):
        weights = [
            tried.observe(Counts(200 * look, look), Counts(4_000 * look, 20 * look), now_s=10.0 * look).weight
            for look in range(1, 4)
        ]
    assert weights == [0.25, 0.5, 1.0]
    assert tried.ended
    assert told == [
        RolloutAdvanced(name="v2", weight=0.25),
        RolloutAdvanced(name="v2", weight=0.5),
        RolloutCompleted(name="v2"),
    ]


def test_a_version_that_fails_is_rolled_back_and_stays_so() -> None:
    tried, told = started(), list[Notice]()
    with listen(told.append):
        bad = tried.observe(Counts(20, failed=12), Counts(400, failed=2), now_s=1.0)
    assert (bad.verdict, bad.weight, bad.doubt) == ("roll_back", 0.0, 1.0)
    assert "failed more than 1.5 times as often" in bad.reason
    assert tried.observe(Counts(900, failed=12), Counts(9_000, failed=2), now_s=99.0) == bad
    assert tried.weight == 0.0
    assert told == [RolloutReverted(name="v2", cause="failures")]


def test_a_version_that_is_slow_is_rolled_back() -> None:
    bad = started().observe(Counts(100, slow=40), Counts(1_000, slow=10), now_s=1.0)
    assert (bad.verdict, bad.weight) == ("roll_back", 0.0)
    assert "were slow" in bad.reason


def test_a_fault_of_both_versions_is_no_reason_to_roll_back() -> None:
    tried = started()
    seen = tried.observe(Counts(150, failed=75), Counts(3_000, failed=1_500), now_s=11.0)
    assert seen.verdict == "promote"


@pytest.mark.parametrize(
    ("new", "now_s", "missing"),
    [
        pytest.param(Counts(99), 50.0, "99 of 100 requests", id="requests"),
        pytest.param(Counts(100), 9.0, "9 of 10 s", id="time"),
        pytest.param(Counts(100, failed=3), 50.0, "more bad requests than expected", id="doubt"),
    ],
)
def test_it_holds_while_something_is_missing(new: Counts, now_s: float, missing: str) -> None:
    tried = started()
    seen = tried.observe(new, Counts(2_000, failed=1), now_s=now_s)
    assert (seen.verdict, seen.weight) == ("hold", 0.05)
    assert missing in seen.reason


def test_a_step_without_traffic_ends_in_a_rollback() -> None:
    tried = rollout()
    tried.observe(Counts(0), Counts(0), now_s=5.0)
    assert tried.observe(Counts(3), Counts(2_000), now_s=104.0).verdict == "hold"
    ended = tried.observe(Counts(3), Counts(3_000), now_s=105.0)
    assert (ended.verdict, ended.weight) == ("roll_back", 0.0)
    assert "did not pass the step in 100 s: 3 of 100 requests" in ended.reason


def test_a_count_that_starts_from_zero_is_added() -> None:
    """A replica that was started again has forgotten what it counted."""
    tried = started()
    tried.observe(Counts(90), Counts(2_000, failed=1), now_s=5.0)
    seen = tried.observe(Counts(20), Counts(2_400, failed=1), now_s=20.0)
    assert (seen.verdict, seen.weight) == ("promote", 0.25)


def test_what_was_counted_before_the_first_look_does_not_matter() -> None:
    tried = rollout()
    tried.observe(Counts(5_000, failed=900), Counts(5_000), now_s=0.0)
    seen = tried.observe(Counts(5_150, failed=900), Counts(7_000), now_s=11.0)
    assert (seen.verdict, seen.weight) == ("promote", 0.25)


def test_stopping_by_hand_takes_all_traffic_away() -> None:
    tried, told = rollout(), list[Notice]()
    with listen(told.append):
        stopped = tried.stop()
        assert tried.stop() == stopped
    assert (stopped.verdict, tried.weight) == ("roll_back", 0.0)
    assert told == [RolloutReverted(name="v2", cause="stopped")]


def rolled_back(seed: int, *, old: float, new: float, ratio_max: float, seconds: int) -> bool:
    """One rollout with 20 requests a second, 20 % for the new version, and a look each second."""
    dice = random.Random(seed)
    tried = Rollout("v2", weights=(0.2,), requests_min=10**6, step_max_s=1e6, ratio_max=ratio_max, false_alarm=0.02)
    counts = {"old": [0, 0], "new": [0, 0]}
    for second in range(seconds):
        for _ in range(20):
            version, rate = ("new", new) if dice.random() < 0.2 else ("old", old)
            counts[version][0] += 1
            counts[version][1] += dice.random() < rate
        if tried.observe(Counts(*counts["new"]), Counts(*counts["old"]), now_s=second).verdict == "roll_back":
            return True
    return False


@pytest.mark.parametrize(
    ("old", "new", "ratio_max"),
    [(0.02, 0.02, 1.0), (0.3, 0.3, 1.0), (0.02, 0.03, 1.5)],
    ids=["as good, few failures", "as good, many failures", "at the limit"],
)
def test_looking_again_and_again_gives_no_more_false_alarms_than_promised(
    old: float, new: float, ratio_max: float
) -> None:
    """Promised are 2 %, half of them for failures; 8 of 200 would be beyond chance (2 in 10,000)."""
    alarms = sum(rolled_back(seed, old=old, new=new, ratio_max=ratio_max, seconds=60) for seed in range(200))
    assert alarms < 8


def test_a_version_that_is_much_worse_is_found() -> None:
    found = sum(rolled_back(seed, old=0.03, new=0.3, ratio_max=1.5, seconds=60) for seed in range(20))
    assert found == 20


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"weights": ()}, "weights must be one share or more"),
        ({"weights": (0.5, 0.25)}, "each larger than the one before"),
        ({"weights": (0.5, 1.0)}, "weights must stay below 1"),
        ({"weights": (0.0, 0.5)}, "each of weights must be above 0"),
        ({"requests_min": 0}, "requests_min"),
        ({"step_min_s": 200.0}, "step_max_s must be above step_min_s"),
        ({"ratio_max": 0.5}, "ratio_max"),
        ({"false_alarm": 0.0}, "false_alarm"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        rollout(**settings)
