"""The line of permits against a naive oracle, and what a lost reply, a dead waiter and a smaller semaphore do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdpatterns.coordination.lease.decision import Ask, Grant, Leave, Left, RenewLease, TurnStatus
from sdpatterns.coordination.lease.line import Line, LineCodec, cohort_of
from sdpatterns.core.step import GONE, UNCHANGED
from sdpatterns.errors import CodecError, UnknownVersion
from tests.steps import on_one

LEASE = 100
ALIVE = 60


class Oracle:
    """Who holds and who waits, in plain lists; it looks at everything in each step."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.holders: dict[str, tuple[int, int]] = {}
        self.line: list[str] = []
        self.wants: dict[str, int] = {}
        self.alive: dict[str, int] = {}

    def expire(self, now: int) -> None:
        self.holders = {who: held for who, held in self.holders.items() if held[1] > now}

    def serve(self, now: int) -> None:
        while self.line:
            first = self.line[0]
            if self.alive[first] > now:
                taken = sum(permits for permits, _ in self.holders.values())
                if self.holders and taken + self.wants[first] > self.slots:
                    return
                self.holders[first] = (self.wants[first], now + LEASE)
            self.line.pop(0)

    def ask(self, who: str, permits: int, now: int, *, waits: bool) -> str:
        if who in self.holders and self.holders[who][1] > now:
            return "h"
        self.expire(now)
        if who in self.line and waits:
            self.alive[who] = now + ALIVE
        self.serve(now)
        if who in self.holders:
            return "h"
        if who in self.line:
            return "w"
        if not waits and self.line:
            return "b"
        self.line.append(who)
        self.wants[who], self.alive[who] = permits, now + ALIVE
        self.serve(now)
        if who in self.holders:
            return "h"
        if not waits:
            self.line.remove(who)
            return "b"
        return "w"

    def leave(self, who: str, now: int, served: Sequence[str] = ()) -> bool:
        was_held = self.holders.pop(who, None) is not None
        stood = [each for each in (who, *served) if each in self.line]
        self.line = [each for each in self.line if each not in stood]
        if not was_held and not stood:
            return False
        self.expire(now)
        self.serve(now)
        return was_held


CALLERS = ["p#1~1", "p#2~1", "p#3~1", "q#1~1", "r"]
STEPS = st.tuples(
    st.sampled_from(CALLERS), st.sampled_from(["ask", "ask", "try", "leave", "renew"]), st.integers(1, 3),
    st.sampled_from([0, 1, 10, ALIVE // 2, ALIVE, LEASE]),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3), st.lists(STEPS, max_size=40))
def test_it_does_what_plain_lists_do(slots: int, steps: list[tuple[str, str, int, int]]) -> None:
    oracle, state, now, fences = Oracle(slots), None, 1_000, [0]
    permits: dict[str, int] = {}
    for who, verb, wanted, pause in steps:
        now += pause
        each = permits.setdefault(who, min(wanted, slots))
        if verb == "leave":
            served = CALLERS[:wanted] if pause else []
            state, answer, _ = applied(Leave(who, slots=slots, successors_max=2, served=served), state, now)
            assert answer.was_held == oracle.leave(who, now, served)
            # They stand right behind the one that holds, and are of its cohort and that of the one that left.
            assert list(answer.successors) == oracle.line[: len(answer.successors)]
            assert {cohort_of(each) for each in answer.successors} <= {cohort_of(who)} - {""}
        elif verb == "renew":
            held = next((holder for holder in (state or Line()).holders if holder.who == who), None)
            state, answer, _ = applied(RenewLease(who, held.fence if held else 1, LEASE), state, now)
            assert answer == (held is not None)
            if held is not None:
                oracle.holders[who] = (each, max(held.until_us, now + LEASE))
        else:
            waits = verb == "ask"
            ask = Ask(who, LEASE, permits=each, slots=slots, alive_us=ALIVE if waits else 0)
            state, answer, _ = applied(ask, state, now)
            assert answer.status.value == oracle.ask(who, each, now, waits=waits), (who, verb, now)
        line = state or Line()
        assert {holder.who: (holder.permits, holder.until_us) for holder in line.holders} == oracle.holders
        assert [place.who for place in line.queue] == oracle.line
        assert sum(holder.permits for holder in line.holders) <= slots or len(line.holders) == 1
        assert line.fence >= fences[-1] or state is None
        fences.append(max(line.fence, fences[-1]))
        assert len({holder.fence for holder in line.holders}) == len(line.holders)


def applied(step: Any, state: Line | None, now: int) -> tuple[Line | None, Any, Any]:
    """The step, and the same once more: a repeat changes nothing and answers the same."""
    after, answer, _, wake = on_one(step, state, now)
    left = state if after is UNCHANGED else None if after is GONE else after
    again, once_more, _, _ = on_one(step, left, now)
    assert again in (UNCHANGED, left)
    if not isinstance(step, Leave):
        assert once_more == answer
    return left, answer, wake


def test_the_head_of_the_line_gets_what_is_released_and_is_woken() -> None:
    state, _, _ = applied(Ask("a", LEASE), None, 5)
    state, second, wake = applied(Ask("b", 50, alive_us=ALIVE), state, 6)
    assert (second.status, second.left_us, wake) == (TurnStatus.WAITING, ALIVE // 3, ())
    state, _, _ = applied(Ask("c", 50, alive_us=ALIVE), state, 6)
    state, left, wake = applied(Leave("a"), state, 20)
    assert left == Left(True, (Grant("b", 20, 50),))
    assert wake == ("inbox/b",)
    assert applied(Ask("b", 50, alive_us=ALIVE), state, 30)[1] == (TurnStatus.HELD, 20, 40)


def in_line(*callers: str) -> Line | None:
    """The first of them holds, with the fence 5, and the others wait; the clock stands at 5."""
    state: Line | None = None
    for who in callers:
        state, _, _ = applied(Ask(who, LEASE, alive_us=ALIVE), state, 5)
    return state


def test_fences_are_kept_for_those_of_its_cohort_right_behind_the_new_holder() -> None:
    step = Leave("p#0~7", successors_max=16)
    state, left, wake = applied(step, in_line("p#0~7", "p#1~7", "p#2~7", "p#3~7", "q#1~7", "p#4~7"), 5)
    assert left == Left(True, (Grant("p#1~7", 6, LEASE),), ("p#2~7", "p#3~7"))
    assert wake == ("inbox/p#1~7",)
    assert state is not None
    assert state.fence == 8
    # Those are given to no other, also where the holder dies and the clock stands still.
    dead = state._replace(holders=(), until_us=0)
    assert applied(Ask("p#2~7", LEASE, alive_us=ALIVE), dead, 5)[1].fence == 9


@pytest.mark.parametrize("other", ["p#1~8", "q#1~7", "p#1", "p"])
def test_no_fence_is_kept_for_another_cohort(other: str) -> None:
    step = Leave("p#0~7", successors_max=16)
    assert applied(step, in_line("p#0~7", "p#1~7", other, "p#2~7"), 5)[1].successors == ()
    # Nor where the answer would reach another than the new holder.
    assert applied(step, in_line("p#0~7", other, "p#2~7"), 5)[1].successors == ()
    assert applied(Leave(other, successors_max=16), in_line(other, "p#1~7", "p#2~7"), 5)[1].successors == ()


def test_no_more_fences_are_kept_than_were_asked_for() -> None:
    line = in_line(*(f"p#{number}~7" for number in range(12)))
    for most in (0, 1, 3):
        assert len(applied(Leave("p#0~7", successors_max=most), line, 5)[1].successors) == most


def test_those_that_were_served_leave_the_line() -> None:
    line = in_line("p#0~7", "p#1~7", "p#2~7", "q#1~7")
    after, _, _ = applied(Leave("p#0~7", served=("p#1~7", "p#2~7")), line, 6)
    assert after is not None
    assert ([holder.who for holder in after.holders], after.queue) == (["q#1~7"], ())
    after, held, _ = applied(RenewLease("p#0~7", 5, LEASE, served=("p#1~7",)), line, 6)
    assert held is True
    assert after is not None
    assert [place.who for place in after.queue] == ["p#2~7", "q#1~7"]
    # Also where the lease is lost: no caller is to wait for one that has had its turn.
    after, held, _ = applied(RenewLease("p#0~7", 4, LEASE, served=("p#1~7",)), line, 6)
    assert held is False
    assert after is not None
    assert [place.who for place in after.queue] == ["p#2~7", "q#1~7"]


def test_only_the_first_in_the_line_looks_when_the_lease_ends() -> None:
    state, _, _ = applied(Ask("a", 10), None, 5)
    state, first, _ = applied(Ask("b", 10, alive_us=3_000), state, 6)
    state, second, _ = applied(Ask("c", 10, alive_us=3_000), state, 6)
    assert (first.left_us, second.left_us) == (9, 1_000)


def test_one_that_does_not_wait_passes_no_other() -> None:
    state, _, _ = applied(Ask("a", LEASE, permits=1, slots=2), None, 5)
    state, _, _ = applied(Ask("b", LEASE, permits=2, slots=2, alive_us=ALIVE), state, 6)
    state, turn, _ = applied(Ask("c", LEASE, permits=1, slots=2), state, 7)
    assert turn.status is TurnStatus.BUSY
    assert [place.who for place in (state or Line()).queue] == ["b"]


def test_a_line_is_bounded_and_makes_room_by_forgetting_the_dead() -> None:
    state, _, _ = applied(Ask("a", 1_000), None, 5)
    for who, alive in (("b", 500), ("c", 10)):
        state, _, _ = applied(Ask(who, 9, alive_us=alive, waiters_max=2), state, 6)
    assert on_one(Ask("d", 9, alive_us=50, waiters_max=2), state, 7)[1].status is TurnStatus.FULL
    state, turn, _ = applied(Ask("d", 9, alive_us=50, waiters_max=2), state, 20)
    assert turn.status is TurnStatus.WAITING
    assert [place.who for place in (state or Line()).queue] == ["b", "d"]


def test_a_line_whose_semaphore_became_smaller_goes_on() -> None:
    state, _, _ = applied(Ask("a", LEASE, permits=1, slots=3), None, 5)
    state, _, _ = applied(Ask("b", LEASE, permits=3, slots=3, alive_us=ALIVE), state, 6)
    state, left, _ = applied(Leave("a", slots=2), state, 7)
    assert [grant.who for grant in left.granted] == ["b"]


def test_a_release_drops_the_cell_unless_its_fence_could_come_again() -> None:
    state, turn, _ = applied(Ask("a", LEASE), None, 5)
    assert on_one(Leave("a"), state, 6)[0] is GONE
    after, _, keep_s, _ = on_one(Leave("a"), state, 5)
    assert (after, keep_s) == (Line(turn.fence), 1.0)
    assert applied(Ask("b", LEASE), after, 5)[1].fence == 6


def test_a_cell_is_kept_until_all_its_leases_and_places_have_ended() -> None:
    def kept_us(step: Any, state: Line | None, now_us: int) -> tuple[Line, int]:
        after, _, keep_s, _ = on_one(step, state, now_us)
        assert isinstance(after, Line)
        return after, round(keep_s * 1e6) - 1_000_000

    state, kept = kept_us(Ask("a", LEASE), None, 5)
    assert kept == LEASE
    state, kept = kept_us(Ask("b", LEASE, alive_us=7 * LEASE), state, 6)
    assert kept == 7 * LEASE
    # A shorter place does not shorten it, nor does a renewal.
    state, kept = kept_us(Ask("c", LEASE, alive_us=LEASE), state, 7)
    assert kept == 7 * LEASE - 1
    state, kept = kept_us(RenewLease("a", 5, LEASE), state, 8)
    assert kept == 7 * LEASE - 2


def test_holders_that_change_are_announced() -> None:
    after, _, _, wake = on_one(Ask("a", LEASE, announce="election/x"), None, 5)
    assert wake == ("election/x",)
    assert on_one(Leave("a", announce="election/x"), after, 6)[3] == ("election/x",)
    assert on_one(Leave("b", announce="election/x"), after, 6)[3] == ()


def test_a_line_comes_back_from_its_bytes() -> None:
    codec = LineCodec()
    state, _, _ = applied(Ask("a#1", LEASE, slots=2), None, 5)
    state, _, _ = applied(Ask("b#2@x", LEASE, slots=2), state, 6)
    state, _, _ = applied(Ask("c#3", 7, slots=2, alive_us=9), state, 7)
    assert state is not None
    assert codec.encode(state) == b"1:6 106 ;a#1:1:5:105;b#2@x:1:6:106|;c#3:1:16:7"
    assert codec.decode(codec.encode(state)) == state
    assert codec.decode(codec.encode(Line(7))) == Line(7)
    with pytest.raises(UnknownVersion):
        codec.decode(b"2:6 |")
    with pytest.raises(CodecError):
        codec.decode(b"1:garbage")
