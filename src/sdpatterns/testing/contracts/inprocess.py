"""More of `StateStore`: stores in this process, which bound their keys and never suspend."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from sdpatterns.core.codec import IntegersCodec
from sdpatterns.errors import BackendFull
from sdpatterns.ports.states import DirectCells, Space
from sdpatterns.testing.contracts.stage import GROUP, THREADS, BackendContract, Stage, built, opened, run, scene
from sdpatterns.testing.contracts.steps import Add, AddMany
from sdpatterns.testing.contracts.verdicts import assert_each_once

__all__ = ["BoundedStatesContract", "DirectStatesContract"]


class BoundedStatesContract(BackendContract):
    """Of stores that hold the keys themselves, and so bound their number."""

    @scene
    async def test_keys_beyond_the_bound_share_one_cell(self, stage: Stage) -> None:
        cells = stage.cells("few", IntegersCodec(), keys_max=20)
        for place in range(20):
            await cells.transact(f"{place}", Add())
        assert (await cells.transact("new", Add(5)))[0] == 0
        assert (await cells.transact("newer", Add()))[0] == 5
        assert (await cells.transact("3", Add()))[0] == 1

    @scene
    async def test_keys_beyond_the_bound_are_refused_where_sharing_would_be_wrong(self, stage: Stage) -> None:
        cells = stage.cells("few", IntegersCodec(), keys_max=20, overflow="refuse")
        for place in range(20):
            await cells.transact(f"{place}", Add())
        with pytest.raises(BackendFull):
            await cells.transact("new", Add())
        with pytest.raises(BackendFull):
            await cells.transact_many(["3", "new"], AddMany(1, 1))
        assert await cells.read_many(["3", "new"]) == [(1,), None]
        await cells.delete("7")
        assert (await cells.transact("new", Add()))[0] == 0

    @scene
    async def test_a_cell_whose_time_has_passed_makes_room(self, stage: Stage) -> None:
        cells = stage.cells("few", IntegersCodec(), keys_max=20, overflow="refuse")
        for place in range(20):
            await cells.transact(f"{place}", Add(keep_s=10.0))
        stage.shift(30.0)
        made = 0
        # Garbage is collected a little with each new key, so room comes within a bounded number.
        for place in range(1000):
            try:
                await cells.transact(f"new{place}", Add(keep_s=10.0))
            except BackendFull:
                continue
            made += 1
        assert made >= 1


class DirectStatesContract(BackendContract):
    """Of stores that never suspend: the same step without an await, from any thread."""

    def test_it_needs_no_runtime(self) -> None:
        assert self.build().states.runtime is None

    def test_the_step_without_an_await_is_the_same_step(self) -> None:
        stage = built(self)
        cells = self._direct(stage)
        assert [cells.transact_now("a", Add())[0] for _ in range(3)] == [0, 1, 2]

        async def play(on: Stage) -> None:
            assert (await on.counters().transact("a", Add()))[0] == 3

        run(self.runtime, lambda: opened(stage, play))
        assert cells.transact_now("a", Add())[0] == 4

    def test_threads_at_once_lose_nothing(self) -> None:
        cells = self._direct(built(self))
        with ThreadPoolExecutor(THREADS) as pool:
            answers = list(pool.map(lambda _: cells.transact_now("a", Add())[0], range(4000)))
        assert_each_once(answers, 4000)

    @staticmethod
    def _direct(stage: Stage) -> DirectCells[tuple[int, ...]]:
        cells = stage.backend.states.cells(Space(f"{stage.prefix}/counters", IntegersCodec(), group=GROUP))
        assert isinstance(cells, DirectCells)
        return cells
