"""The cells of this process against a naive table that never forgets what still matters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from sdpatterns.core.clock import Clock
from sdpatterns.core.runtime import finish
from sdpatterns.core.step import GONE, UNCHANGED, Repeats
from sdpatterns.errors import BackendFull
from sdpatterns.ports.local import LocalCells
from tests.steps import space

KEYS_MAX = 40


class Put:
    """Writes what it was given, and answers what it found."""

    repeats: ClassVar[Repeats] = "unsafe"
    script = None

    def __init__(self, state: Any, keep_s: float, wake: Sequence[str] = ()) -> None:
        self.state = state
        self.keep_s = keep_s
        self.wake = wake

    def __call__(self, states: Sequence[Any], now_us: int, /) -> Any:
        return [self.state], (states[0], now_us), [self.keep_s], self.wake


class PutMany:
    """The same on several cells; `broken` returns a step that cannot be written."""

    repeats: ClassVar[Repeats] = "unsafe"
    script = None

    def __init__(self, states: Sequence[Any], keep_s: float, broken: str = "") -> None:
        self.states = states
        self.keep_s = keep_s
        self.broken = broken

    def __call__(self, states: Sequence[Any], now_us: int, /) -> Any:
        if self.broken == "raises":
            raise ZeroDivisionError
        keeps: list[Any] = [self.keep_s for _ in states]
        if self.broken == "short":
            keeps.pop()
        if self.broken == "odd":
            keeps[-1] = "soon"
        return self.states, tuple(states), keeps, ()


class Memory(RuleBasedStateMachine):
    keys = Bundle("keys")

    @initialize(least_keep_s=st.sampled_from([0, 5]))
    def start(self, least_keep_s: int) -> None:
        self.now_us = 1_000_000
        self.cells: LocalCells[Any] = LocalCells(
            space("model", keys_max=KEYS_MAX, overflow="refuse"), clock=Clock(now_us=lambda: self.now_us)
        )
        self.cells.keep_at_least(least_keep_s * 1e6)
        self.table: dict[str, tuple[int, int]] = {}
        self.written = 0

    # Few shards, so that neighbours meet: keys are drawn whose hashes share their last bits.
    @rule(target=keys, number=st.integers(0, 60))
    def key(self, number: int) -> str:
        return _NEIGHBOURS[number]

    def expects(self, key: str, found: Any) -> None:
        state, until_us = self.table.get(key, (None, 0))
        if found is None:
            assert until_us <= self.now_us, "a cell was dropped before its time"
            self.table.pop(key, None)
        else:
            assert found == state

    def remember(self, key: str, state: int, keep_s: float) -> None:
        self.table[key] = (state, self.now_us + round(keep_s * 1e6))

    @rule(key=keys, keep_s=st.floats(0, 20), reach=st.booleans())
    def put(self, key: str, keep_s: float, reach: bool) -> None:
        self.written += 1
        try:
            found, _ = self.cells.transact_now(key, Put(self.written, keep_s))
        except BackendFull:
            assert len(self.cells) >= KEYS_MAX
            return
        self.expects(key, found)
        self.remember(key, self.written, keep_s)

    @rule(key=keys)
    def look(self, key: str) -> None:
        try:
            found, _ = self.cells.transact_now(key, Put(UNCHANGED, 0.0))
        except BackendFull:
            return
        self.expects(key, found)

    @rule(key=keys)
    def drop(self, key: str) -> None:
        try:
            found, _ = self.cells.transact_now(key, Put(GONE, 0.0))
        except BackendFull:
            return
        self.expects(key, found)
        self.table.pop(key, None)
        assert finish(self.cells.read(key)) is None

    @rule(key=keys)
    def delete(self, key: str) -> None:
        finish(self.cells.delete(key))
        self.table.pop(key, None)
        assert finish(self.cells.read(key)) is None

    @rule(several=st.lists(keys, min_size=1, max_size=4, unique=True), keep_s=st.floats(0, 20), ends=st.data())
    def put_many(self, several: list[str], keep_s: float, ends: st.DataObject) -> None:
        self.written += 1
        states = [ends.draw(st.sampled_from([self.written, UNCHANGED, GONE])) for _ in several]
        try:
            found = self.cells.transact_many_now(several, PutMany(states, keep_s))
        except BackendFull:
            return
        for key, before, state in zip(several, found, states, strict=True):
            self.expects(key, before)
            if state is GONE:
                self.table.pop(key, None)
            elif state is not UNCHANGED:
                self.remember(key, self.written, keep_s)

    @rule(
        several=st.lists(keys, min_size=2, max_size=4, unique=True), broken=st.sampled_from(["raises", "short", "odd"])
    )
    def put_many_and_fail(self, several: list[str], broken: str) -> None:
        before = finish(self.cells.read_many(several))
        with pytest.raises((ZeroDivisionError, ValueError, TypeError, BackendFull)):
            self.cells.transact_many_now(several, PutMany([-1 for _ in several], 1e6, broken))
        for key, state in zip(several, finish(self.cells.read_many(several)), strict=True):
            assert state != -1, "half of a failed step was written"
            self.expects(key, state)
        assert len(before) == len(several)

    @rule(seconds=st.sampled_from([0.001, 0.5, 3.0, 30.0]))
    def pass_time(self, seconds: float) -> None:
        self.now_us += int(seconds * 1e6)

    @rule(seconds=st.sampled_from([0.5, 100.0]))
    def step_back(self, seconds: float) -> None:
        before_us = self.now_us
        _, first_us = self.cells.transact_now("time", Put(UNCHANGED, 0.0)) if len(self.cells) < KEYS_MAX else (0, 0)
        self.now_us -= int(seconds * 1e6)
        if first_us and len(self.cells) < KEYS_MAX:
            assert self.cells.transact_now("time", Put(UNCHANGED, 0.0))[1] == first_us
        self.now_us = before_us

    @invariant()
    def counts_are_true(self) -> None:
        shards = self.cells.shards
        assert len(self.cells) == sum(len(shard.young) + len(shard.old) for shard in shards)
        assert len(self.cells) <= KEYS_MAX
        assert not any(shard.young.keys() & shard.old.keys() for shard in shards)


def _some_neighbours() -> list[str]:
    found: list[str] = []
    number = 0
    while len(found) <= 60:
        if hash(f"k{number}") & 1023 < 4:
            found.append(f"k{number}")
        number += 1
    return found


_NEIGHBOURS = _some_neighbours()

TestMemory = Memory.TestCase
TestMemory.settings = settings(stateful_step_count=60, deadline=None)
