"""The steps with each algorithm against what one would say of it: replayed from the first request on, naively."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdpatterns.core.step import GONE, UNCHANGED
from sdpatterns.errors import CodecError, UnknownVersion
from sdpatterns.traffic.ratelimit import (
    GCRA,
    Algorithm,
    FixedWindow,
    LeakyBucket,
    Rate,
    SlidingCounter,
    SlidingLog,
    per_day,
    per_minute,
    per_second,
)
from sdpatterns.traffic.ratelimit.answer import Limit
from sdpatterns.traffic.ratelimit.decision import CODEC, Cancel, Reserve, decide
from tests.steps import on_one, reserved
from tests.traffic.ratelimit.algorithms import ALGORITHMS
from tests.traffic.ratelimit.oracle import most_in_any_window

NOW = 1_700_000_000_000_000

every = pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS)
rates = st.builds(Rate, st.integers(1, 12), st.sampled_from([0.001, 0.5, 1.0, 60.0]))
history = st.lists(st.tuples(st.integers(0, 2_000_000), st.integers(1, 3), st.booleans()), max_size=40)


def played(algorithm: Algorithm, rate: Rate, requests: list[tuple[int, int, bool]]) -> list[tuple[int, int]]:
    """When what was let through started, and what it cost; the third word says whether it may wait."""
    limit, state, now_us, starts = Limit(rate, algorithm), None, NOW, []
    for passed_us, asked, waits in requests:
        now_us += passed_us
        cost = min(asked, rate.limit)
        after, made, keep_s, _ = reserved(Reserve(((limit,),), cost, 1e12 if waits else 0.0), state, now_us)
        if made.allowed:
            assert keep_s > 0
            starts.append((max(now_us, made.starts_us[0]), cost))
            state = after
        else:
            assert after is UNCHANGED
    assert starts == sorted(starts, key=lambda start: start[0])
    return starts


@settings(deadline=None)
@given(rate=rates, requests=history, window_us=st.integers(1, 3_000_000))
def test_a_token_bucket_passes_its_burst_and_what_came_back(
    rate: Rate, requests: list[tuple[int, int, bool]], window_us: int
) -> None:
    most = most_in_any_window(played(GCRA(), rate, requests), window_us)
    assert most * rate.interval_us <= rate.limit * rate.interval_us + window_us


@settings(deadline=None)
@given(rate=rates, requests=history)
def test_a_leaky_bucket_keeps_them_apart(rate: Rate, requests: list[tuple[int, int, bool]]) -> None:
    starts = played(LeakyBucket(), rate, requests)
    for (at_us, cost), (next_us, _) in itertools.pairwise(starts):
        assert next_us - at_us >= cost * rate.interval_us


@settings(deadline=None)
@given(rate=rates, requests=history)
def test_no_window_of_the_clock_holds_more_than_the_count(rate: Rate, requests: list[tuple[int, int, bool]]) -> None:
    for algorithm in (FixedWindow(), SlidingCounter()):
        counts: dict[int, int] = {}
        for at_us, cost in played(algorithm, rate, requests):
            counts[at_us // rate.window_us] = counts.get(at_us // rate.window_us, 0) + cost
        assert max(counts.values(), default=0) <= rate.count


@settings(deadline=None)
@given(rate=rates, requests=history)
def test_no_window_at_all_holds_more_than_the_count(rate: Rate, requests: list[tuple[int, int, bool]]) -> None:
    assert most_in_any_window(played(SlidingLog(), rate, requests), rate.window_us - 1) <= rate.count


@settings(deadline=None)
@given(rate=rates, requests=history)
def test_the_estimate_never_exceeds_the_count(rate: Rate, requests: list[tuple[int, int, bool]]) -> None:
    starts, window_us = played(SlidingCounter(), rate, requests), rate.window_us
    for number, (at_us, _) in enumerate(starts):
        begin = at_us - at_us % window_us
        before = sum(cost for at, cost in starts[: number + 1] if begin - window_us <= at < begin)
        used = sum(cost for at, cost in starts[: number + 1] if at >= begin)
        assert before * (begin + window_us - at_us) + used * window_us <= rate.count * window_us


@every
@settings(deadline=None)
@given(rate=rates, requests=history, later_us=st.integers(0, 3_000_000))
def test_what_it_answers_is_so(
    algorithm: Algorithm, rate: Rate, requests: list[tuple[int, int, bool]], later_us: int
) -> None:
    limit, state, now_us = Limit(rate, algorithm), algorithm.initial, NOW
    params = limit.params
    for passed_us, asked, _ in requests:
        now_us += passed_us
        state, start_us = algorithm.advance(state, now_us, min(asked, rate.limit), params)
        now_us = max(now_us, start_us - later_us)
    # As much as is left passes now, and no more; the next passes when it is told to, and no sooner.
    left = algorithm.remaining(state, now_us, params)
    assert 0 <= left <= algorithm.limit(rate)
    if left:
        assert algorithm.advance(state, now_us, left, params)[1] <= now_us
    if left < algorithm.limit(rate):
        assert algorithm.advance(state, now_us, left + 1, params)[1] > now_us
    _, start_us = algorithm.advance(state, now_us, 1, params)
    assert algorithm.remaining(state, start_us, params) >= 1
    assert start_us <= now_us or algorithm.remaining(state, start_us - 1, params) == 0
    # Once idle it equals a fresh one at any later time.
    idle_us = max(NOW, algorithm.idle_at_us(state, params))
    for ahead_us in (0, 1, later_us):
        for cost in (1, rate.limit):
            assert algorithm.advance(state, idle_us + ahead_us, cost, params) == algorithm.advance(
                algorithm.initial, idle_us + ahead_us, cost, params
            )


def test_it_comes_back_at_its_own_microsecond() -> None:
    limit = Limit(per_second(3, burst=1), GCRA())
    state = reserved(Reserve(((limit,),), 1), None, NOW)[0]
    allowed = [reserved(Reserve(((limit,),), 1), state, NOW + at_us)[1].allowed for at_us in (333_333, 333_334)]
    assert allowed == [False, True]


def test_a_log_forgets_at_the_microsecond_and_not_before() -> None:
    params = Limit(per_second(2), SlidingLog()).params
    state, _ = SlidingLog().advance((), NOW, 1, params)
    second = NOW + 1_000_000
    assert SlidingLog().advance(state, second - 1, 1, params) == ((NOW, 1, second - 1, 1), second - 1)
    assert SlidingLog().advance(state, second, 1, params) == ((second, 1), second)


@every
def test_a_look_changes_nothing_and_many_are_reserved_together_or_not_at_all(algorithm: Algorithm) -> None:
    wide, narrow = (
        [Limit(per_second(10), algorithm, "user")],
        [Limit(per_second(1), algorithm, "ip"), Limit(per_minute(9), algorithm, "ip")],
    )
    assert reserved(Reserve([wide], 1, look=True), None, NOW)[0] is UNCHANGED
    assert Reserve([wide, narrow], 1, look=True)([None, None], NOW)[0] == (UNCHANGED, UNCHANGED)
    states, several, keeps_s, _ = Reserve([wide, narrow], 1)([None, None], NOW)
    assert [made.allowed for made in several] == [True, True]
    assert min(keeps_s) > 0
    refused, several, _, _ = Reserve([wide, narrow], 1)([None, states[1]], NOW)
    assert refused == (UNCHANGED, UNCHANGED)
    decision = decide(several)
    assert (decision.allowed, decision.scope, decision.remaining, decision.limit) == (False, "ip", 0, 1)
    assert decision.retry_after_s > 0


@every
def test_a_request_without_another_one_after_it_is_cancelled(algorithm: Algorithm) -> None:
    limits = [Limit(per_second(2), algorithm)]
    first, mine, _, _ = reserved(Reserve([limits], 1), None, NOW)
    back = Cancel(mine)
    assert on_one(back, first, NOW)[0] is GONE
    second, after, _, _ = reserved(Reserve([limits], 1, 1e9), first, NOW + 10)
    assert on_one(back, second, NOW + 10) == (UNCHANGED, None, 0.0, ())
    state, _, keep_s, _ = on_one(Cancel(after), second, NOW + 10)
    assert (state, keep_s > 0) == (first, True)
    assert on_one(Cancel(after), second, NOW + 10_000_000)[0] is GONE
    assert Cancel.repeats == Reserve.repeats == "unsafe"


@every
def test_a_rate_that_the_state_has_not_seen_begins_fresh(algorithm: Algorithm) -> None:
    one, two = [Limit(per_second(3), algorithm)], [Limit(per_second(3), algorithm), Limit(per_minute(3), algorithm)]
    state = reserved(Reserve([one], 1), None, NOW)[0]
    grown = reserved(Reserve([two], 1, 1e12), state, NOW)
    assert grown[1].allowed
    assert reserved(Reserve([one], 1, 1e12), grown[0], NOW)[1].allowed
    assert on_one(Cancel(grown[1]), grown[0], NOW)[0] == state


@every
def test_another_rate_lets_no_more_than_its_own_limit_pass(algorithm: Algorithm) -> None:
    old, new = [Limit(Rate(1000, 3600.0), algorithm)], [Limit(Rate(5, 1.0), algorithm)]
    for before, after in ((old, new), (new, old)):
        state: Any = None
        for _ in range(5):
            taken = reserved(Reserve([before], 1, 1e12), state, NOW)
            state = taken[0]
        most = after[0].rate.limit
        passed = 0
        for _ in range(most + 5):
            found, made, _, _ = reserved(Reserve([after], 1), state, NOW)
            passed += made.allowed
            state = found if made.allowed else state
        assert passed <= most


@pytest.mark.parametrize("algorithm", [FixedWindow(), SlidingLog(), SlidingCounter()])
def test_a_window_has_no_burst(algorithm: Algorithm) -> None:
    with pytest.raises(ValueError, match="burst must be left out"):
        Limit(per_second(10, burst=20), algorithm)
    assert Limit(per_second(10, burst=10), algorithm).rate.limit == 10


def test_what_would_grow_or_blur_without_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="count must be at most 1000 for a SlidingLog"):
        Limit(per_day(1001), SlidingLog())
    assert Limit(per_day(1001), SlidingLog(entries_max=2000)).rate.count == 1001


@pytest.mark.parametrize("rate", [Rate(10**9, 86_400.0), Rate(10**6, 86_400.0 * 366), per_day(100_003)])
def test_a_share_in_longer_steps_lets_no_more_pass_and_less_by_hardly_any(rate: Rate) -> None:
    algorithm = SlidingCounter()
    params = Limit(rate, algorithm).params
    assert params[3] > 1
    begin = NOW - NOW % rate.window_us
    state = algorithm.advance(algorithm.initial, begin, rate.count, params)[0]
    for share in (0.1, 0.5, 0.999):
        now_us = begin + rate.window_us + int(share * rate.window_us)
        exact = rate.count - -(-rate.count * (begin + 2 * rate.window_us - now_us) // rate.window_us)
        assert exact - 2 - exact * 1e-5 <= algorithm.remaining(state, now_us, params) <= exact


def test_a_state_is_text_that_a_script_can_read() -> None:
    codec, state = CODEC, ((5, 7), (), (NOW,))
    assert codec.encode(state) == b"1:2 5 7 0 1 1700000000000000"
    assert codec.decode(codec.encode(state)) == state
    for bad in (b"1:3 5 7", b"1:-2 5"):
        with pytest.raises(CodecError):
            codec.decode(bad)
    with pytest.raises(UnknownVersion):
        codec.decode(b"2:1 5")
