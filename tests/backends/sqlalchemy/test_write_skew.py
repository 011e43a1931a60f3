"""Two steps that read the same two cells and each write another one: one of them sees what the other wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.context import with_deadline
from sdpatterns.core.runtime import finish
from sdpatterns.core.step import UNCHANGED, Step
from sdpatterns.ports.states import Cells, Space
from tests.backends.everywhere import unique


class GoOffDuty:
    """The doctor at `place` goes home if another one stays: at least one of the two has to be on duty (1)."""

    repeats = "unsafe"
    script = None

    def __init__(self, place: int, first_time: Callable[[], object] = bool) -> None:
        self._place = place
        self._first_time = [first_time]
        self.runs = 0

    def __call__(self, states: Sequence[Any], now_us: int, /) -> Step[Any, bool]:
        self.runs += 1
        on_duty = [(state or (1,))[0] for state in states]
        while self._first_time:
            self._first_time.pop()()
        may = sum(on_duty) == 2
        nexts = [(0,) if may and place == self._place else UNCHANGED for place in range(2)]
        return nexts, may, [60.0, 60.0], ()


@pytest.mark.parametrize("exist", [False, True])
def test_of_two_steps_that_rely_on_each_others_cells_only_one_goes_on_what_it_read(
    exist: bool, postgres_url: str
) -> None:
    url, name = postgres_url.replace("postgresql:", "postgresql+psycopg:", 1), unique("duty")
    with SQLBackend.from_url(url, blocking=True) as one, SQLBackend.from_url(url, blocking=True) as other:
        finish(one.create())
        mine, theirs = (backend.states.cells(Space(name, IntegersCodec())) for backend in (one, other))
        if exist:
            for place in range(2):
                finish(mine.transact(f"{place}", Put(1)))
        with ThreadPoolExecutor(1) as pool:
            faster = GoOffDuty(1)
            # Between the read and the write of the first step, another process makes the second one.
            slower = GoOffDuty(0, lambda: pool.submit(gone, theirs, faster).result(60))
            assert finish(mine.transact_many(("0", "1"), slower)) is False
        assert slower.runs == 2, "the first run went on what was no longer so"
        assert [state or (1,) for state in finish(mine.read_many(("0", "1")))] == [(1,), (0,)]


class Put:
    """Writes a number."""

    repeats = "harmless"
    script = None

    def __init__(self, number: int) -> None:
        self._number = number

    def __call__(self, states: Sequence[Any], now_us: int, /) -> Step[Any, None]:
        return [(self._number,)], None, [60.0], ()


def gone(cells: Cells[Any], step: GoOffDuty) -> None:
    with with_deadline(20.0):  # it would wait for as long as the first step holds its rows
        assert finish(cells.transact_many(("0", "1"), step)) is True
