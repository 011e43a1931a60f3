"""The steps against a bucket that is replayed from its first drop."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdpatterns.core.step import GONE, UNCHANGED
from sdpatterns.errors import UnknownVersion
from sdpatterns.traffic.ratelimit import Rate, per_minute, per_second
from sdpatterns.traffic.ratelimit.answer import Limit
from sdpatterns.traffic.ratelimit.decision import (
    Book,
    Booking,
    BookMany,
    GiveBack,
    Slot,
    State,
    StateCodec,
    decide,
    pause_us,
)
from tests.traffic.ratelimit.oracle import Leaky, most_in_any_window

NOW = 1_700_000_000_000_000

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
    oracle, limits = Leaky(*several), tuple(map(Limit, several))
    burst = min(rate.limit for rate in several)
    state: State | None = None
    now_us = NOW
    for passed_us, asked in requests:
        now_us += passed_us
        cost = min(asked, burst)
        expected = oracle.acquire(now_us, cost)
        after, booking, keep_s, wake = Book(limits, cost)(state, now_us)
        assert booking.allowed is expected
        if expected or len(limits) == 1:
            left = decide([Slot("x", limits, booking)], cost).remaining
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
    limits, admitted, state, now_us = (Limit(rate),), [], None, NOW
    for passed_us, asked in requests:
        now_us += passed_us
        cost = min(asked, rate.limit)
        after, booking, _, _ = Book(limits, cost)(state, now_us)
        if booking.allowed:
            admitted.append((now_us, cost))
            state = after
    assert most_in_any_window(admitted, window_us) <= rate.limit + window_us / rate.interval_us


@settings(deadline=None)
@given(rate=rates, waits=st.lists(st.tuples(st.integers(0, 500_000), st.integers(1, 3)), max_size=30))
def test_requests_that_wait_for_their_slots_start_in_order_and_within_the_rate(
    rate: Rate, waits: list[tuple[int, int]]
) -> None:
    limits, state, now_us, starts = (Limit(rate),), None, NOW, []
    for passed_us, asked in waits:
        now_us += passed_us
        cost = min(asked, rate.limit)
        after, booking, _, _ = Book(limits, cost, 10.0**12)(state, now_us)
        assert booking.allowed
        state = after
        starts.append((int(now_us + max(0.0, pause_us([Slot("x", limits, booking)]))), cost))
    assert starts == sorted(starts, key=lambda start: start[0])
    oracle = Leaky(rate)
    assert all(oracle.acquire(at, cost) for at, cost in starts)


@settings(deadline=None)
@given(rate=rates, ahead=st.integers(0, 5), cost=st.integers(1, 3))
def test_a_refused_request_may_pass_exactly_when_it_was_told(rate: Rate, ahead: int, cost: int) -> None:
    limits, state, cost = (Limit(rate),), None, min(cost, rate.limit)
    for _ in range(rate.limit + ahead):
        after, booking, _, _ = Book(limits, 1, 10.0**12)(state, NOW)
        state = after
    _, booking, _, _ = Book(limits, cost)(state, NOW)
    retry_us = decide([Slot("x", limits, booking)], cost).wait_us
    assert not Book(limits, cost)(state, NOW + int(retry_us) - 1)[1].allowed
    assert Book(limits, cost)(state, NOW + int(retry_us))[1].allowed


def test_a_look_books_nothing() -> None:
    limits = (Limit(per_second(1)),)
    assert Book(limits, 1, look=True)(None, NOW) == (UNCHANGED, Booking(True, NOW, (0.0,)), 0.0, ())
    assert BookMany([limits], 1, look=True)([None], NOW)[0] == [UNCHANGED]


def test_many_cells_are_booked_together_or_not_at_all() -> None:
    user, address = (Limit(per_second(10), "user"),), (Limit(per_second(1), "ip"), Limit(per_minute(30), "ip"))
    step = BookMany([user, address], 1)
    states, booking, keeps_s, _ = step([None, None], NOW)
    assert booking.allowed
    assert states == [NOW + 100_000, (NOW + 1_000_000, NOW + 2_000_000)]
    assert keeps_s == [0.1, 2.0]
    refused, booking, _, _ = step([None, states[1]], NOW)
    assert refused == [UNCHANGED, UNCHANGED]
    assert not booking.allowed


def test_the_last_booking_can_be_given_back_and_leaves_no_trace() -> None:
    limits = (Limit(per_second(1, burst=1)),)
    first = Book(limits, 1)(None, NOW)
    second = Book(limits, 1, 10.0**9)(first[0], NOW)
    assert GiveBack(limits, 1, second[1].tats)(second[0], NOW)[0] == first[0]
    assert GiveBack(limits, 1, first[1].tats)(first[0], NOW)[0] is GONE


def test_a_booking_with_another_behind_it_is_not_given_back() -> None:
    limits = (Limit(per_second(1, burst=1)),)
    first = Book(limits, 1)(None, NOW)
    second = Book(limits, 1, 10.0**9)(first[0], NOW)
    assert GiveBack(limits, 1, first[1].tats)(second[0], NOW) == (UNCHANGED, None, 0.0, ())
    assert GiveBack(limits, 1, first[1].tats)(None, NOW) == (UNCHANGED, None, 0.0, ())


def test_giving_back_twice_would_take_the_next_ones_slot_and_is_never_repeated() -> None:
    limits = (Limit(per_second(1, burst=1)),)
    first = Book(limits, 1)(None, NOW)
    mine = Book(limits, 1, 10.0**9)(first[0], NOW)
    given_back = GiveBack(limits, 1, mine[1].tats)
    theirs = Book(limits, 1, 10.0**9)(given_back(mine[0], NOW)[0], NOW)
    assert given_back(theirs[0], NOW)[0] == first[0]
    assert GiveBack.repeats == Book.repeats == BookMany.repeats == "unsafe"


def test_each_rate_is_given_back_for_itself() -> None:
    limits = (Limit(per_second(1)), Limit(per_minute(1)))
    mine = Book(limits, 1)(None, NOW)[1].tats
    after = GiveBack(limits, 1, mine)((mine[0] + 5.0, mine[1]), NOW)[0]
    assert after == (mine[0] + 5.0, NOW)


def test_state_written_for_fewer_or_more_rates_is_read_rate_by_rate() -> None:
    one, two = (Limit(per_second(1)),), (Limit(per_second(1)), Limit(per_minute(1)))
    assert Book(two, 1)(NOW + 0.0, NOW)[1].tats == (NOW + 1_000_000, NOW + 60_000_000)
    assert Book(one, 1)((NOW + 0.0, NOW + 5.0), NOW)[1].tats == (NOW + 1_000_000,)


@pytest.mark.parametrize(
    ("state", "data"), [(float(NOW), b"1:1700000000000000"), ((float(NOW), 5.0), b"1:1700000000000000 5")]
)
def test_a_state_is_text_that_a_script_can_read(state: State, data: bytes) -> None:
    assert StateCodec().encode(state) == data
    assert StateCodec().decode(data) == state


def test_a_newer_state_is_refused() -> None:
    with pytest.raises(UnknownVersion):
        StateCodec().decode(b"2:1700000000000000")


def test_the_binding_rate_has_the_longest_wait_or_else_the_least_left() -> None:
    few, many = Limit(per_minute(2), "few"), Limit(per_second(100), "many")
    limits = (many, few)
    state, booking, _, _ = Book(limits, 1)(None, NOW)
    decision = decide([Slot("x", limits, booking)], 1)
    assert (decision.scope, decision.remaining, decision.limit, decision.rate) == ("few", 1, 2, few.rate)
    assert (decision.allowed, decision.retry_after_s, decision.reset_after_s) == (True, 0.0, 30.0)
    state = Book(limits, 1)(state, NOW)[0]
    refused = decide([Slot("x", limits, Book(limits, 1)(state, NOW)[1])], 1)
    assert (refused.scope, refused.allowed, refused.remaining, refused.retry_after_s) == ("few", False, 0, 30.0)
    assert repr(refused) == (
        "Decision(allowed=False, remaining=0, retry_after_s=30.0, limit=2, reset_after_s=60.0, scope='few')"
    )
