"""The steps with GCRA against a bucket that is replayed from its first drop."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdpatterns.core.step import GONE, UNCHANGED
from sdpatterns.errors import UnknownVersion
from sdpatterns.traffic.ratelimit import GCRA, Rate, per_minute, per_second
from sdpatterns.traffic.ratelimit.answer import CellState, Limit
from sdpatterns.traffic.ratelimit.decision import CODEC, Cancel, Reserve, decide, pause_us
from tests.steps import on_one, reserved
from tests.traffic.ratelimit.oracle import Leaky, most_in_any_window

NOW = 1_700_000_000_000_000


def limit(rate: Rate, scope: str = "") -> Limit:
    return Limit(rate, GCRA(), scope)


rates = st.builds(
    lambda count, period_s, burst: Rate(count, period_s, burst=burst),
    st.integers(1, 50),
    st.sampled_from([0.001, 0.5, 1.0, 60.0]),
    st.integers(1, 12),
)
history = st.lists(st.tuples(st.integers(0, 2_000_000), st.integers(1, 3)), max_size=40)


@settings(deadline=None)
@given(several=st.lists(rates, min_size=1, max_size=3), requests=history)
def test_it_admits_what_a_leaking_bucket_admits(several: list[Rate], requests: list[tuple[int, int]]) -> None:
    oracle, limits = Leaky(*several), [limit(rate) for rate in several]
    burst = min(rate.limit for rate in several)
    state: CellState | None = None
    now_us = NOW
    for passed_us, asked in requests:
        now_us += passed_us
        cost = min(asked, burst)
        expected = oracle.acquire(now_us, cost)
        after, made, keep_s, wake = reserved(Reserve([limits], cost), state, now_us)
        assert made.allowed is expected
        if expected or len(limits) == 1:
            left = decide([made]).remaining
            assert left == max(0, oracle.remaining(now_us))
        assert wake == ()
        if expected:
            assert keep_s > 0
            assert not isinstance(after, type(UNCHANGED))
            state = after
        else:
            assert after is UNCHANGED


@settings(deadline=None)
@given(rate=rates, requests=history, window_us=st.integers(1, 3_000_000))
def test_no_window_ever_holds_more_than_burst_and_rate_allow(
    rate: Rate, requests: list[tuple[int, int]], window_us: int
) -> None:
    limits, admitted, state, now_us = (limit(rate),), [], None, NOW
    for passed_us, asked in requests:
        now_us += passed_us
        cost = min(asked, rate.limit)
        after, made, _, _ = reserved(Reserve([limits], cost), state, now_us)
        if made.allowed:
            admitted.append((now_us, cost))
            state = after
    assert most_in_any_window(admitted, window_us) <= rate.limit + window_us / rate.interval_us


@settings(deadline=None)
@given(rate=rates, waits=st.lists(st.tuples(st.integers(0, 500_000), st.integers(1, 3)), max_size=30))
def test_requests_that_wait_for_their_slots_start_in_order_and_within_the_rate(
    rate: Rate, waits: list[tuple[int, int]]
) -> None:
    limits, state, now_us, starts = (limit(rate),), None, NOW, []
    for passed_us, asked in waits:
        now_us += passed_us
        cost = min(asked, rate.limit)
        after, made, _, _ = reserved(Reserve([limits], cost, 10.0**12), state, now_us)
        assert made.allowed
        state = after
        starts.append((int(now_us + max(0.0, pause_us([made]))), cost))
    assert starts == sorted(starts, key=lambda start: start[0])
    oracle = Leaky(rate)
    assert all(oracle.acquire(at, cost) for at, cost in starts)


@settings(deadline=None)
@given(rate=rates, ahead=st.integers(0, 5), cost=st.integers(1, 3))
def test_a_refused_request_may_pass_exactly_after_its_retry_after(rate: Rate, ahead: int, cost: int) -> None:
    limits, state, cost = (limit(rate),), None, min(cost, rate.limit)
    for _ in range(rate.limit + ahead):
        after, made, _, _ = reserved(Reserve([limits], 1, 10.0**12), state, NOW)
        state = after
    _, made, _, _ = reserved(Reserve([limits], cost), state, NOW)
    retry_us = decide([made]).wait_us
    assert not reserved(Reserve([limits], cost), state, NOW + int(retry_us) - 1)[1].allowed
    assert reserved(Reserve([limits], cost), state, NOW + int(retry_us))[1].allowed


def test_a_look_reserves_nothing() -> None:
    limits = (limit(per_second(1)),)
    state, made, keep_s, _ = reserved(Reserve([limits], 1, look=True), None, NOW)
    assert (state, made.allowed, made.stands, keep_s) == (UNCHANGED, True, ((0,),), 0.0)


def test_many_cells_are_reserved_together_or_not_at_all() -> None:
    user, address = (limit(per_second(10), "user"),), (limit(per_second(1), "ip"), limit(per_minute(30), "ip"))
    step = Reserve([user, address], 1)
    states, made, keeps_s, _ = step([None, None], NOW)
    assert [one.allowed for one in made] == [True, True]
    assert states == [NOW + 100_000, ((NOW + 1_000_000,), (NOW + 2_000_000,))]
    assert keeps_s == [0.1, 2.0]
    refused, made, _, _ = step([None, states[1]], NOW)  # type: ignore[list-item]
    assert refused == (UNCHANGED, UNCHANGED)
    assert [one.allowed for one in made] == [False, False]


def test_the_last_reservation_can_be_cancelled_and_leaves_no_trace() -> None:
    limits = (limit(per_second(1, burst=1)),)
    first = reserved(Reserve([limits], 1), None, NOW)
    second = reserved(Reserve([limits], 1, 10.0**9), first[0], NOW)  # type: ignore[arg-type]
    assert on_one(Cancel(second[1]), second[0], NOW)[0] == first[0]  # type: ignore[arg-type]
    assert on_one(Cancel(first[1]), first[0], NOW)[0] is GONE  # type: ignore[arg-type]


def test_a_reservation_with_another_behind_it_is_not_cancelled() -> None:
    limits = (limit(per_second(1, burst=1)),)
    first = reserved(Reserve([limits], 1), None, NOW)
    second = reserved(Reserve([limits], 1, 10.0**9), first[0], NOW)  # type: ignore[arg-type]
    assert on_one(Cancel(first[1]), second[0], NOW) == (UNCHANGED, None, 0.0, ())  # type: ignore[arg-type]
    assert on_one(Cancel(first[1]), None, NOW) == (UNCHANGED, None, 0.0, ())


def test_cancelling_twice_would_take_the_slot_of_the_next_request_and_is_never_repeated() -> None:
    limits, state = (limit(per_second(1, burst=1)),), None
    first, _, _, _ = reserved(Reserve([limits], 1), state, NOW)
    left, mine, _, _ = reserved(Reserve([limits], 1, 10.0**9), first, NOW)  # type: ignore[arg-type]
    cancel = Cancel(mine)
    next_left, _, _, _ = reserved(Reserve([limits], 1, 10.0**9), on_one(cancel, left, NOW)[0], NOW)
    assert on_one(cancel, next_left, NOW)[0] == first
    assert Cancel.repeats == Reserve.repeats == "unsafe"


def test_state_written_for_fewer_or_more_rates_is_read_rate_by_rate() -> None:
    one, two = (limit(per_second(1)),), (limit(per_second(1)), limit(per_minute(1)))
    assert reserved(Reserve([two], 1), NOW + 0.0, NOW)[1].stands == [(NOW + 1_000_000,), (NOW + 60_000_000,)]
    assert reserved(Reserve([one], 1), ((NOW,), (NOW + 5,)), NOW)[1].stands == ((NOW + 1_000_000,),)


@pytest.mark.parametrize(
    ("state", "data"), [(float(NOW), b"1:1700000000000000"), (((NOW,), (5,)), b"1:1 1700000000000000 1 5")]
)
def test_a_state_is_text_that_a_script_can_read(state: CellState, data: bytes) -> None:
    assert CODEC.encode(state) == data
    assert CODEC.decode(data) == state


def test_a_newer_state_is_refused() -> None:
    with pytest.raises(UnknownVersion):
        CODEC.decode(b"2:1700000000000000")


def test_the_binding_rate_has_the_longest_wait_or_else_the_least_left() -> None:
    few, many = limit(per_minute(2), "few"), limit(per_second(100), "many")
    limits = (many, few)
    state, made, _, _ = reserved(Reserve([limits], 1), None, NOW)
    decision = decide([made])
    assert (decision.scope, decision.remaining, decision.limit, decision.rate) == ("few", 1, 2, few.rate)
    assert (decision.allowed, decision.retry_after_s, decision.reset_after_s) == (True, 0.0, 30.0)
    state = reserved(Reserve([limits], 1), state, NOW)[0]
    refused = decide([reserved(Reserve([limits], 1), state, NOW)[1]])
    assert (refused.scope, refused.allowed, refused.remaining, refused.retry_after_s) == ("few", False, 0, 30.0)
    assert repr(refused) == (
        "Decision(allowed=False, remaining=0, retry_after_s=30.0, limit=2, reset_after_s=60.0, scope='few')"
    )
