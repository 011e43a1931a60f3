"""The cells of this process: threads, bounds, and how they drop what has expired."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest

from sdpatterns import RateLimiter, listen, per_minute
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.clock import Clock
from sdpatterns.core.notices import Notice
from sdpatterns.core.runtime import finish
from sdpatterns.core.step import UNCHANGED, Repeats
from sdpatterns.errors import BackendFull
from sdpatterns.ports.local import KeysOverflowed, LocalCells, Shard
from sdpatterns.ports.states import Space
from sdpatterns.traffic.ratelimit.decision import CODEC
from tests.backends.memory.test_model import Put, PutMany
from tests.steps import space


class Add:
    """Adds one, and lets another thread run between the look and the write."""

    repeats: ClassVar[Repeats] = "unsafe"
    script = None

    def __call__(self, states: Sequence[int | None], now_us: int, /) -> Any:
        time.sleep(0)
        return [(states[0] or 0) + 1], None, [60.0], ()


class Move:
    """Moves a unit from the first cell to the second, as hesitantly."""

    repeats: ClassVar[Repeats] = "unsafe"
    script = None

    def __call__(self, states: Sequence[int | None], now_us: int, /) -> Any:
        first, second = (state or 0 for state in states)
        time.sleep(0)
        return [first - 1, second + 1], None, [60.0, 60.0], ()


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now_us = 10_000_000
        self.clock = Clock(now_us=lambda: self.now_us)


def in_eight_threads(work: Callable[[int], None]) -> None:
    ready = threading.Barrier(8)

    def begin(number: int) -> None:
        ready.wait()
        work(number)

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(begin, number) for number in range(8)]:
            future.result()


def test_eight_threads_lose_no_step_on_one_cell_or_on_many() -> None:
    cells: LocalCells[int] = LocalCells(space("threads"))

    def work(number: int) -> None:
        for turn in range(500):
            cells.transact_now("one", Add())
            cells.transact_now(f"own {number} {turn}", Add())

    in_eight_threads(work)
    assert finish(cells.read("one")) == 4000
    assert len(cells) == 4001


def test_eight_threads_on_crossing_pairs_neither_hang_nor_lose_a_unit() -> None:
    cells: LocalCells[int] = LocalCells(space("threads"))
    keys = ["a", "b", "c"]

    def work(number: int) -> None:
        chance = random.Random(number)
        for _ in range(500):
            cells.transact_many_now(chance.sample(keys, 2), Move())

    in_eight_threads(work)
    assert sum(state or 0 for state in finish(cells.read_many(keys))) == 0


def test_a_cell_stays_to_the_last_microsecond_of_its_time() -> None:
    hand = Hand()
    cells: LocalCells[int] = LocalCells(space("keep"), clock=hand.clock)
    for keep_us in (1, 333_333, 86_400_000_001, 2**51):
        cells.transact_now("x", Put(keep_us, keep_us / 1e6))
        hand.now_us += keep_us - 1
        for number in range(3000):
            cells.transact_now(f"{keep_us} {number}", Put(1, 0.0))
        assert cells.transact_now("x", Put(UNCHANGED, 0.0))[0] == keep_us


def test_what_has_passed_is_let_go_a_small_map_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand()
    cells: LocalCells[int] = LocalCells(space("sweep"), clock=hand.clock)
    for number in range(50_000):
        cells.transact_now(f"old {number}", Put(1, 10.0))
    hand.now_us += 11_000_000
    rotated: list[int] = []
    rotate = Shard.rotate

    def counted(shard: Shard, least_until_us: float) -> int:
        rotated.append(rotate(shard, least_until_us))
        return rotated[-1]

    monkeypatch.setattr(Shard, "rotate", counted)
    for number in range(4096):
        rotated.clear()
        cells.transact_now(f"new {number}", Put(1, 10.0))
        assert len(rotated) <= 2, "one call swept more than its own map and a neighbour"
        assert sum(rotated) <= 300
    assert len(cells) == 4096


def test_a_cell_that_a_neighbours_sweep_drops_within_the_step_is_written_and_counted_again() -> None:
    hand = Hand()
    cells: LocalCells[int] = LocalCells(space("sweep"), clock=hand.clock)
    shard = hash("a") & 1023
    same = next(f"x{number}" for number in range(100_000) if hash(f"x{number}") & 1023 == shard)
    other = next(f"y{number}" for number in range(100_000) if hash(f"y{number}") & 1023 != shard)
    for key in ("a", same):
        cells.transact_now(key, Put(1, 0.0))
    finish(cells.delete(same))
    cells._hand = shard - 1
    assert cells.transact_many_now([other, "a"], PutMany([7, 8], 60.0)) == (None, 1)
    assert (finish(cells.read_many([other, "a"])), len(cells)) == ([7, 8], 2)


def test_a_full_space_gives_new_keys_one_shared_cell_and_says_so() -> None:
    cells: LocalCells[int] = LocalCells(space("full", keys_max=2))
    heard: list[Notice] = []
    for key in "ab":
        cells.transact_now(key, Put(ord(key), 60.0))
    with listen(heard.append):
        assert cells.transact_now("c", Put(99, 60.0))[0] is None
        assert cells.transact_now("d", Put(UNCHANGED, 0.0))[0] == 99
        assert cells.transact_now("a", Put(UNCHANGED, 0.0))[0] == ord("a")
    assert heard == [KeysOverflowed(name="full")] * 2


def test_a_full_space_has_room_again_when_time_has_passed() -> None:
    hand = Hand()
    cells: LocalCells[int] = LocalCells(space("full", keys_max=2, overflow="refuse"), clock=hand.clock)
    for key in "ab":
        cells.transact_now(key, Put(1, 10.0))
    with pytest.raises(BackendFull, match="2 keys"):
        cells.transact_now("c", Put(1, 10.0))
    hand.now_us += 10_000_000
    for _ in range(300):
        try:
            cells.transact_now("c", Put(1, 10.0))
        except BackendFull:
            continue
        break
    assert finish(cells.read("c")) == 1


def test_two_new_keys_of_one_step_cannot_share_a_cell() -> None:
    cells: LocalCells[int] = LocalCells(space("full", keys_max=1))
    cells.transact_now("a", Put(1, 60.0))
    with pytest.raises(BackendFull, match="cannot share"):
        cells.transact_many_now(["b", "c"], PutMany([1, 1], 60.0))
    with pytest.raises(BackendFull, match="cannot share"):
        LocalCells[int](space("empty", keys_max=1)).transact_many_now(["b", "c", "d"], PutMany([1, 1, 1], 60.0))


def test_keys_of_several_kinds_overflow_kind_by_kind() -> None:
    limiter = RateLimiter("api", {"user": per_minute(2), "ip": [per_minute(3), per_minute(9)]}, keys_max=2)
    assert finish(limiter.acquire({"user": "a", "ip": "1"})).remaining == 1
    shared = [finish(limiter.acquire({"user": name, "ip": name})) for name in "bcd"]
    assert [(decision.allowed, decision.scope) for decision in shared] == [
        (True, "user"), (True, "user"), (False, "user")
    ]  # fmt: skip
    assert finish(limiter.acquire({"user": "a", "ip": "1"})).allowed
    cells = limiter._cells.cells
    assert isinstance(cells, LocalCells)
    assert len(cells) == 4


@pytest.mark.parametrize("keys", [[], ["a", "a"]])
def test_a_step_on_many_cells_needs_different_ones(keys: list[str]) -> None:
    with pytest.raises(ValueError, match="different keys"):
        LocalCells[int](space("many")).transact_many_now(keys, PutMany([1 for _ in keys], 1.0))


def test_a_bound_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="keys_max"):
        space("none", keys_max=0)


def test_the_same_space_is_the_same_cells_from_any_thread() -> None:
    states = MemoryBackend().states
    found: list[Any] = []
    in_eight_threads(lambda _: found.append(states.cells(Space("space", CODEC, group="any"))))
    assert len({id(cells) for cells in found}) == 1
