"""The meters against what one would say of them: replayed from the first request on, naively."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdpatterns.core.step import GONE, UNCHANGED
from sdpatterns.errors import CodecError, UnknownVersion
from sdpatterns.traffic.ratelimit import (
    FixedWindow,
    LeakyBucket,
    Rate,
    SlidingCounter,
    SlidingLog,
    TokenBucket,
    per_day,
    per_minute,
    per_second,
)
from sdpatterns.traffic.ratelimit.answer import Slot
from sdpatterns.traffic.ratelimit.metered import Meter, Return, Take, TakeMany, WordsCodec
from tests.traffic.ratelimit.algorithms import METERS
from tests.traffic.ratelimit.oracle import most_in_any_window

NOW = 1_700_000_000_000_000

every = pytest.mark.parametrize("meter", METERS.values(), ids=METERS)
rates = st.builds(Rate, st.integers(1, 12), st.sampled_from([0.001, 0.5, 1.0, 60.0]))
history = st.lists(st.tuples(st.integers(0, 2_000_000), st.integers(1, 3), st.booleans()), max_size=40)


def played(meter: Meter, rate: Rate, requests: list[tuple[int, int, bool]]) -> list[tuple[int, int]]:
    """When what was let through started, and what it cost; the third word says whether it may wait."""
    limit, state, now_us, starts = meter.limit(rate, ""), None, NOW, []
    for passed_us, asked, waits in requests:
        now_us += passed_us
        cost = min(asked, rate.limit)
        after, taking, keep_s, _ = Take(meter, [[limit]], cost, 1e12 if waits else 0.0)(state, now_us)
        if taking.allowed:
            assert keep_s > 0
            starts.append((max(now_us, taking.starts_us[0]), cost))
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
    most = most_in_any_window(played(TokenBucket(), rate, requests), window_us)
    assert most * rate.window_us <= rate.limit * rate.window_us + window_us * rate.count


@settings(deadline=None)
@given(rate=rates, requests=history)
def test_a_leaky_bucket_keeps_them_apart(rate: Rate, requests: list[tuple[int, int, bool]]) -> None:
    starts = played(LeakyBucket(), rate, requests)
    for (at_us, cost), (next_us, _) in itertools.pairwise(starts):
        assert next_us - at_us >= cost * rate.interval_us


@settings(deadline=None)
@given(rate=rates, requests=history)
def test_no_window_of_the_clock_holds_more_than_the_count(rate: Rate, requests: list[tuple[int, int, bool]]) -> None:
    for meter in (FixedWindow(), SlidingCounter()):
        counts: dict[int, int] = {}
        for at_us, cost in played(meter, rate, requests):
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
def test_what_it_tells_is_so(meter: Meter, rate: Rate, requests: list[tuple[int, int, bool]], later_us: int) -> None:
    limit, words, now_us = meter.limit(rate, ""), meter.fresh, NOW
    numbers = limit.settings
    for passed_us, asked, _ in requests:
        now_us += passed_us
        words, start_us = meter.taken(words, now_us, min(asked, rate.limit), numbers)
        now_us = max(now_us, start_us - later_us)
    # As much as is left passes now, and no more; the next passes when it is told to, and no sooner.
    left = meter.left(words, now_us, numbers)
    assert 0 <= left <= meter.most(rate)
    if left:
        assert meter.taken(words, now_us, left, numbers)[1] <= now_us
    if left < meter.most(rate):
        assert meter.taken(words, now_us, left + 1, numbers)[1] > now_us
    _, start_us = meter.taken(words, now_us, 1, numbers)
    assert meter.left(words, start_us, numbers) >= 1
    assert start_us <= now_us or meter.left(words, start_us - 1, numbers) == 0
    # Once idle it equals a fresh one at any later time.
    idle_us = max(NOW, meter.idle_at_us(words, numbers))
    for ahead_us in (0, 1, later_us):
        for cost in (1, rate.limit):
            assert meter.taken(words, idle_us + ahead_us, cost, numbers) == meter.taken(
                meter.fresh, idle_us + ahead_us, cost, numbers
            )


def test_it_comes_back_at_its_own_microsecond() -> None:
    limit = TokenBucket().limit(per_second(3, burst=1), "")
    state = Take(TokenBucket(), [[limit]], 1)(None, NOW)[0]
    allowed = [Take(TokenBucket(), [[limit]], 1)(state, NOW + at_us)[1].allowed for at_us in (333_333, 333_334)]
    assert allowed == [False, True]


def test_a_log_forgets_at_the_microsecond_and_holds_up_nobody_before() -> None:
    numbers = SlidingLog().limit(per_second(2), "").settings
    words, _ = SlidingLog().taken((), NOW, 1, numbers)
    second = NOW + 1_000_000
    assert SlidingLog().taken(words, second - 1, 1, numbers) == ((NOW, 1, second - 1, 1), second - 1)
    assert SlidingLog().taken(words, second, 1, numbers) == ((second, 1), second)


@every
def test_a_look_changes_nothing_and_many_are_taken_together_or_not_at_all(meter: Meter) -> None:
    wide, narrow = (
        [meter.limit(per_second(10), "user")],
        [meter.limit(per_second(1), "ip"), meter.limit(per_minute(9), "ip")],
    )
    assert Take(meter, [wide], 1, look=True)(None, NOW)[0] is UNCHANGED
    assert TakeMany(meter, [wide, narrow], 1, look=True)([None, None], NOW)[0] == [UNCHANGED, UNCHANGED]
    states, takings, keeps_s, _ = TakeMany(meter, [wide, narrow], 1)([None, None], NOW)
    assert [taking.allowed for taking in takings] == [True, True]
    assert min(keeps_s) > 0
    refused, takings, _, _ = TakeMany(meter, [wide, narrow], 1)([None, states[1]], NOW)
    assert refused == [UNCHANGED, UNCHANGED]
    decision = meter.decide([Slot("a", wide, takings[0]), Slot("b", narrow, takings[1])], 1)
    assert (decision.allowed, decision.scope, decision.remaining, decision.limit) == (False, "ip", 0, 1)
    assert decision.retry_after_s > 0


@every
def test_a_request_that_nobody_followed_is_taken_back(meter: Meter) -> None:
    limits = [meter.limit(per_second(2), "")]
    first, mine, _, _ = Take(meter, [limits], 1)(None, NOW)
    back = Return(meter, limits, mine)
    assert back(first, NOW)[0] is GONE
    second, after, _, _ = Take(meter, [limits], 1, 1e9)(first, NOW + 10)
    assert back(second, NOW + 10) == (UNCHANGED, None, 0.0, ())
    state, _, keep_s, _ = Return(meter, limits, after)(second, NOW + 10)
    assert (state, keep_s > 0) == (first, True)
    assert Return(meter, limits, after)(second, NOW + 10_000_000)[0] is GONE
    assert Return.repeats == Take.repeats == TakeMany.repeats == "unsafe"


@every
def test_a_rate_that_the_state_has_not_seen_begins_fresh(meter: Meter) -> None:
    one, two = [meter.limit(per_second(3), "")], [meter.limit(per_second(3), ""), meter.limit(per_minute(3), "")]
    state = Take(meter, [one], 1)(None, NOW)[0]
    grown = Take(meter, [two], 1, 1e12)(state, NOW)
    assert grown[1].allowed
    assert Take(meter, [one], 1, 1e12)(grown[0], NOW)[1].allowed
    assert Return(meter, two, grown[1])(grown[0], NOW)[0] == state


@every
def test_another_rate_lets_no_more_than_its_own_limit_pass(meter: Meter) -> None:
    old, new = [meter.limit(Rate(1000, 3600.0), "")], [meter.limit(Rate(5, 1.0), "")]
    for before, after in ((old, new), (new, old)):
        state: Any = None
        for _ in range(5):
            taken = Take(meter, [before], 1, 1e12)(state, NOW)
            state = taken[0]
        most = after[0].rate.limit
        passed = 0
        for _ in range(most + 5):
            found, taking, _, _ = Take(meter, [after], 1)(state, NOW)
            passed += taking.allowed
            state = found if taking.allowed else state
        assert passed <= most


@pytest.mark.parametrize("meter", [FixedWindow(), SlidingLog(), SlidingCounter()])
def test_a_window_has_no_burst(meter: Meter) -> None:
    with pytest.raises(ValueError, match="burst must be left out"):
        meter.limit(per_second(10, burst=20), "")
    assert meter.limit(per_second(10, burst=10), "").rate.limit == 10


def test_what_would_grow_or_blur_without_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="count must be at most 1000 for a SlidingLog"):
        SlidingLog().limit(per_day(1001), "")
    assert SlidingLog(entries_max=2000).limit(per_day(1001), "").rate.count == 1001
    with pytest.raises(ValueError, match=r"burst must be at most \d+ for a TokenBucket"):
        TokenBucket().limit(Rate(7, 86_400.0 * 366, burst=150), "")


@pytest.mark.parametrize("rate", [Rate(10**9, 86_400.0), Rate(10**6, 86_400.0 * 366), per_day(100_003)])
def test_a_share_in_longer_steps_lets_no_more_pass_and_less_by_hardly_any(rate: Rate) -> None:
    meter = SlidingCounter()
    numbers = meter.limit(rate, "").settings
    assert numbers[3] > 1
    begin = NOW - NOW % rate.window_us
    words = meter.taken(meter.fresh, begin, rate.count, numbers)[0]
    for share in (0.1, 0.5, 0.999):
        now_us = begin + rate.window_us + int(share * rate.window_us)
        exact = rate.count - -(-rate.count * (begin + 2 * rate.window_us - now_us) // rate.window_us)
        assert exact - 2 - exact * 1e-5 <= meter.left(words, now_us, numbers) <= exact


def test_a_state_is_text_that_a_script_can_read() -> None:
    codec, state = WordsCodec(), ((5, 7), (), (NOW,))
    assert codec.encode(state) == b"1:2 5 7 0 1 1700000000000000"
    assert codec.decode(codec.encode(state)) == state
    for bad in (b"1:3 5 7", b"1:-2 5"):
        with pytest.raises(CodecError):
            codec.decode(bad)
    with pytest.raises(UnknownVersion):
        codec.decode(b"2:1 5")
