"""The quota's steps against an oracle that adds everything up again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpatterns.core.step import UNCHANGED
from sdpatterns.errors import CodecError, UnknownVersion
from sdpatterns.traffic.quota import daily, monthly, weekly
from sdpatterns.traffic.quota.calendar import Calendar, CurrentPeriods
from sdpatterns.traffic.quota.decision import CODEC, Adjust, PeriodLimit, Usage, Use
from tests.steps import on_one
from tests.traffic.quota.oracle import Ledger

PLANS = {"basic": (daily(3), monthly(20)), "pro": (weekly(12),), "trial": (monthly(5),)}
REQUESTS = st.tuples(
    st.sampled_from(sorted(PLANS)),
    st.integers(1, 4),
    st.sampled_from([0, 1, 3_600, 20_000, 86_400, 400_000, 2_000_000]),
)


@given(st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"]), st.lists(REQUESTS, min_size=1, max_size=60))
def test_what_passes_is_what_the_ledger_lets_pass(zone: str, requests: list[tuple[str, int, int]]) -> None:
    ledger, calendar = Ledger(zone, PLANS), Calendar(zone, 1)
    now_us, state = 1_774_000_000_000_000, None
    periods = CurrentPeriods(PLANS, calendar, now_us)
    for plan, cost, later_s in requests:
        now_us += later_s * 1_000_000
        step = Use(periods.steps[plan].limits, cost)
        after, counted, _, _ = on_one(step, state, now_us)
        if not counted.in_time:
            assert after is UNCHANGED
            periods = CurrentPeriods(PLANS, calendar, counted.now_us)
            step = Use(periods.steps[plan].limits, cost)
            after, counted, _, _ = on_one(step, state, now_us)
            assert counted.in_time
        look = on_one(Use(step.limits, cost, look=True), state, now_us)
        assert (look[0], look[1].allowed) == (UNCHANGED, counted.allowed)
        assert counted.allowed is ledger.acquire(plan, cost, now_us)
        state = state if after is UNCHANGED else after
        for limit in step.limits:
            [used] = [usage.used for usage in counted.usages if usage.kind == limit.kind]
            assert used == ledger.used(["day", "week", "month"][limit.kind], now_us)


BOUND = PeriodLimit(0, 1000, 2000, 5)


def test_a_page_that_is_not_todays_changes_nothing_and_learns_the_time() -> None:
    for now_us in (999, 2000, 2001):
        after, counted, _, _ = on_one(Use([BOUND], 1), None, now_us)
        assert after is UNCHANGED
        assert (counted.in_time, counted.allowed, counted.now_us) == (False, False, now_us)
    assert on_one(Use([BOUND], 1), None, 1999)[1].allowed


def test_a_count_lasts_until_its_own_end_whatever_another_calendar_says() -> None:
    state = (Usage(0, 2500, 5),)
    assert not on_one(Use([BOUND], 1), state, 1999)[1].allowed
    after, counted, keep_s, _ = on_one(Use([PeriodLimit(0, 2000, 3000, 5)], 1), state, 2500)
    assert after == counted.usages == (Usage(0, 3000, 1),)
    assert keep_s == 500 / 1e6


def test_periods_of_another_release_are_kept_while_they_last() -> None:
    state = (Usage(3, 9000, 7), Usage(2, 1500, 7))
    after, _, keep_s, _ = on_one(Use([BOUND], 2), state, 1600)
    assert after == (Usage(0, 2000, 2), Usage(3, 9000, 7))
    assert keep_s == 7400 / 1e6


def test_an_amendment_meets_the_periods_in_which_the_request_was_counted() -> None:
    taken = (Usage(0, 2000, 3), Usage(2, 9000, 3))
    state: Any = (Usage(0, 2000, 4), Usage(2, 9000, 6))
    assert on_one(Adjust(taken, -2), state, 1500)[0] == (Usage(0, 2000, 2), Usage(2, 9000, 4))
    assert on_one(Adjust(taken, -5), state, 1500)[0] == (Usage(0, 2000, 0), Usage(2, 9000, 1))
    assert on_one(Adjust(taken, 50), state, 2000)[0] == (Usage(2, 9000, 56),)
    assert on_one(Adjust(taken, -2), (Usage(0, 3000, 4),), 2500)[0] is UNCHANGED
    assert on_one(Adjust(taken, -2), None, 2500)[0] is UNCHANGED


@given(st.lists(st.builds(Usage, st.integers(0, 3), st.integers(0, 2**52), st.integers(0, 2**52))))
def test_states_come_back_as_they_went(usages: list[Usage]) -> None:
    assert CODEC.decode(CODEC.encode(tuple(usages))) == tuple(usages)


def test_bytes_that_are_no_state_are_refused() -> None:
    with pytest.raises(CodecError, match="not the usages"):
        CODEC.decode(b"1:1 2")
    with pytest.raises(UnknownVersion):
        CODEC.decode(b"2:1 2 3")
