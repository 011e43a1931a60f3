"""The Lua twin answers, writes and keeps what Python does, on random histories in a real Valkey."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from sdpatterns.core.step import GONE, UNCHANGED
from sdpatterns.traffic.ratelimit import Rate
from sdpatterns.traffic.ratelimit.answer import Limit
from sdpatterns.traffic.ratelimit.decision import Book, Booking, BookMany, GiveBack, State, StateCodec
from sdpatterns.traffic.ratelimit.twin import Gcra
from tests.backends.redis.twins import Played, held_to_python, kept, many_steps, written

_CODEC = StateCodec()


class History:
    """Random steps on random cells, each on the state that Python's step before it left."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now_us = 1_760_000_000_000_000 + self.chance.randrange(10**15)
        self.limits = [self._limits() for _ in range(self.chance.choice([1, 1, 2, 3]))]
        self.states: list[State | None] = [None for _ in self.limits]
        self.last: list[tuple[float, ...] | None] = [None for _ in self.limits]

    def _limits(self) -> tuple[Limit, ...]:
        pick = self.chance.choice
        return tuple(
            Limit(Rate(pick([1, 3, 7, 1000]), pick([0.01, 1.0, 86_400.0 * 366]), burst=pick([1, 2, 50])))
            for _ in range(pick([1, 1, 2, 4]))
        )

    def step(self) -> Played:
        self.now_us += int(self.chance.choice([0, 1, 999, self.chance.random() * 10 ** self.chance.randint(1, 13)]))
        cell = self.chance.randrange(len(self.limits))
        cost = self.chance.randint(1, 3)
        kind = self.chance.random()
        booked = self.last[cell]
        if kind < 0.2 and booked is not None:
            return self._one(cell, GiveBack(self.limits[cell], cost, booked))
        wait_us = self.chance.choice([0.0, 0.0, 1.0, 1e9])
        if kind < 0.6:
            return self._one(cell, Book(self.limits[cell], cost, wait_us, look=kind < 0.3))
        return self._all(BookMany(self.limits, cost, wait_us, look=kind > 0.95))

    def _one(self, cell: int, step: Book | GiveBack) -> Played:
        before = self.states[cell]
        after, answer, keep_s, wake = step(before, self.now_us)
        self._keep(cell, after)
        if isinstance(answer, Booking) and answer.allowed:
            self.last[cell] = answer.tats
        return Played(self._words([before], step.twin), _expected([after], answer, [keep_s], wake))

    def _all(self, step: BookMany) -> Played:
        before = list(self.states)
        after, answer, keeps_s, wake = step(before, self.now_us)
        for cell, state in enumerate(after):
            self._keep(cell, state)
        return Played(self._words(before, step.twin), _expected(after, answer, keeps_s, wake))

    def _keep(self, cell: int, state: Any) -> None:
        if state is GONE:
            self.states[cell] = None
        elif state is not UNCHANGED:
            self.states[cell] = state

    def _words(self, states: Sequence[State | None], twin: Gcra[Any]) -> Sequence[str]:
        texts = ["" if state is None else _CODEC.encode(state).decode() for state in states]
        return [str(len(states)), str(self.now_us), *texts, *twin.args()]


def _expected(states: Sequence[Any], answer: Any, keeps_s: Sequence[float], wake: Sequence[str]) -> Any:
    words = []
    if answer is not None:
        words = [b"1" if answer.allowed else b"0", *(b"%d" % int(number) for number in (answer.now_us, *answer.tats))]
    return [[written(_CODEC, state) for state in states], words, [kept(keep_s) for keep_s in keeps_s], list(wake)]


@many_steps
def test_the_twin_is_the_step(steps: int, valkey_url: str) -> None:
    seen = {
        (played.words[-1] and played.reply[0][0].split(b":")[0], tuple(played.reply[1][:1]))
        for played, _ in held_to_python(valkey_url, Gcra.source, History, steps)
    }
    # Every kind of end was met: written, unchanged or gone; allowed, refused or given back.
    assert {end for end, _ in seen} == {b"1", b"unchanged", b"gone"}
    assert {answer for _, answer in seen} == {(b"1",), (b"0",), ()}


def test_the_answer_is_read_back_as_python_gives_it() -> None:
    limits = (Limit(Rate(1, 1.0)), Limit(Rate(1, 60.0)))
    twin = Book(limits, 1).twin
    assert (twin.name, twin.answer([b"0", b"17", b"5", b"7"])) == ("gcra/1", Booking(False, 17, (5, 7)))
    assert GiveBack(limits, 1, (5.0, 7.0)).twin.answer([]) is None
    with pytest.raises(ValueError, match="literal"):
        twin.answer([b"0", b"1.5"])
