"""The contract of `StateStore`: what every store keeps. More of it stands in `stored` and `inprocess`."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest

from sdpatterns.core.runtime import current
from sdpatterns.ports.states import Cells
from sdpatterns.ports.timekeeping import StoreClock
from sdpatterns.testing.contracts.stage import BackendContract, Stage, built, opened, run, scene
from sdpatterns.testing.contracts.steps import (
    KEEP_S,
    Add,
    AddByScript,
    AddMany,
    Drop,
    Explode,
    Look,
    LookMany,
    Put,
    Swap,
    Time,
    add_each,
)
from sdpatterns.testing.contracts.values import ODD_KEYS, ODD_VALUES, BytesCodec, any_json
from sdpatterns.testing.contracts.verdicts import assert_each_once, assert_same

__all__ = ["StateStoreContract"]

HEARD_WITHIN_S = 60.0


class StateStoreContract(BackendContract):
    """What `StateStore` and `Cells` promise of every store."""

    @scene
    async def test_it_runs_under_the_runtime_it_names(self, stage: Stage) -> None:
        named = stage.backend.states.runtime
        assert named is None or named is current()

    @scene
    async def test_it_says_whose_clock_it_goes_by(self, stage: Stage) -> None:
        assert isinstance(getattr(stage.backend.states, "clock", None), StoreClock)

    @scene
    async def test_a_cell_that_does_not_exist_has_no_state(self, stage: Stage) -> None:
        cells = stage.counters()
        assert await cells.read("a") is None
        assert await cells.transact("a", Look()) is None
        assert await cells.read("a") is None

    @scene
    async def test_each_step_sees_the_state_that_the_last_one_left(self, stage: Stage) -> None:
        assert await add_each(stage.counters(), "a", 10) == list(range(10))
        assert await stage.counters().read("a") == (10,)

    @scene
    async def test_unchanged_writes_nothing(self, stage: Stage) -> None:
        cells = stage.counters()
        await cells.transact("a", Add(5))
        assert await cells.transact("a", Look()) == (5,)
        # Look says keep_s=0; had it been written, the cell could be dropped by now.
        stage.shift(KEEP_S - 60)
        assert await cells.transact("b", Add()) is not None
        assert await cells.transact("a", Look()) == (5,)
        assert await cells.read("a") == (5,)

    @scene
    async def test_gone_drops_the_cell(self, stage: Stage) -> None:
        cells = stage.counters()
        await cells.transact("a", Add(5))
        assert await cells.transact("a", Drop()) == (5,)
        assert await cells.read("a") is None
        assert await cells.transact("a", Drop()) is None
        assert (await cells.transact("a", Add()))[0] == 0

    @scene
    async def test_no_cell_is_dropped_before_its_time(self, stage: Stage) -> None:
        cells = stage.counters()
        for place in range(50):
            await cells.transact(f"{place}", Put((place,), keep_s=6000.0 + place))
        stage.shift(5940.0)
        for place in range(50, 100):
            await cells.transact(f"{place}", Put((place,), keep_s=1.0))
        kept = [(place,) for place in range(50)]
        assert_same(await cells.read_many([f"{place}" for place in range(50)]), kept)
        assert_same([await cells.transact(f"{place}", Look()) for place in range(50)], kept)

    @scene
    async def test_keeping_starts_anew_with_each_write(self, stage: Stage) -> None:
        cells = stage.counters()
        for _ in range(5):
            await cells.transact("a", Add(keep_s=6000.0))
            stage.shift(5940.0)
        assert await cells.transact("a", Look()) == (5,)

    @scene
    async def test_a_cell_may_be_kept_for_ten_years_or_not_at_all(self, stage: Stage) -> None:
        cells = stage.counters()
        await cells.transact("long", Put((1,), keep_s=10 * 365 * 86_400.0))
        await cells.transact("short", Put((2,), keep_s=0.0))
        await cells.transact("fraction", Put((3,), keep_s=0.0004))
        stage.shift(365 * 86_400.0)
        assert await cells.transact("long", Look()) == (1,)
        assert await cells.transact("short", Look()) in {None, (2,)}

    @scene
    async def test_expiry_is_judged_by_the_time_that_the_step_is_given(self, stage: Stage) -> None:
        cells = stage.counters()
        before = await cells.transact("a", Time())
        stage.shift(1000.0)
        after = await cells.transact("a", Time())
        assert 1_000_000_000 <= after - before < 1_060_000_000

    @scene
    async def test_time_is_whole_microseconds_since_1970(self, stage: Stage) -> None:
        now_us = await stage.counters().transact("a", Time())
        assert type(now_us) is int
        assert abs(now_us / 1e6 - time.time()) < 3600

    @scene
    async def test_time_never_goes_back_for_a_cell(self, stage: Stage) -> None:
        cells = stage.counters()
        seen = [await cells.transact("a", Time())]
        for seconds in (50.0, -500.0, 20.0, -3.0, 0.0):
            stage.shift(seconds)
            seen.append(await cells.transact("a", Time()))
            seen.append((await cells.transact("a", AddByScript()))[1])
            assert await cells.transact_many(["a", "b"], AddMany(1, 1))
        assert seen == sorted(seen)

    @scene
    async def test_a_step_that_raises_changes_nothing(self, stage: Stage) -> None:
        cells = stage.counters()
        await cells.transact("a", Add(5))
        bug = ZeroDivisionError("in the transition")
        with pytest.raises(ZeroDivisionError) as caught:
            await cells.transact("a", Explode(bug))
        assert caught.value is bug
        assert await cells.read("a") == (5,)
        with pytest.raises(ZeroDivisionError):
            await cells.transact("never", Explode(bug))
        assert await cells.read("never") is None
        assert (await cells.transact("a", Add()))[0] == 5

    @scene
    async def test_a_step_that_raises_harms_only_its_caller(self, stage: Stage) -> None:
        cells = stage.counters()
        caught: list[Exception] = []

        async def job(place: int) -> None:
            if place % 3:
                await cells.transact(f"{place % 2}", Add())
                return
            try:
                await cells.transact(f"{place % 2}", Explode(ZeroDivisionError(place)))
            except ZeroDivisionError as error:
                caught.append(error)

        await stage.together([partial(job, place) for place in range(90)])
        assert_same(sorted(error.args[0] for error in caught), range(0, 90, 3))
        assert await cells.read_many(["0", "1"]) == [(30,), (30,)]

    @scene
    async def test_steps_at_once_on_one_cell_lose_nothing(self, stage: Stage) -> None:
        cells = stage.counters()
        answers = await stage.together([lambda: add_each(cells, "a", 10)] * 40)
        assert_each_once(itertools.chain(*answers), 400)
        assert await cells.read("a") == (400,)

    @scene
    async def test_steps_at_once_on_many_cells_lose_nothing(self, stage: Stage) -> None:
        cells = stage.counters()

        async def job(place: int) -> None:
            for step in range(10):
                await cells.transact(f"{(place + step) % 10}", Add())

        await stage.together([partial(job, place) for place in range(40)])
        assert_same(await cells.read_many([f"{key}" for key in range(10)]), [(40,)] * 10)

    @scene
    async def test_a_step_with_a_script_and_one_without_share_a_cell(self, stage: Stage) -> None:
        cells = stage.counters()
        steps = (Add(2), AddByScript(3), Add(-1), AddByScript(-2), AddByScript(10**12), Add())
        answers = [(await cells.transact("a", step))[0] for step in steps]
        assert answers == [0, 2, 5, 4, 2, 10**12 + 2]

        async def both() -> None:
            await cells.transact("b", Add())
            await cells.transact("b", AddByScript())

        await stage.together([both] * 40)
        assert await cells.read("b") == (80,)

    @scene
    async def test_many_cells_are_given_and_written_in_the_order_of_their_keys(self, stage: Stage) -> None:
        cells = stage.counters()
        assert await cells.transact_many(["b", "a", "c"], AddMany(1, 2, None)) == [0, 0, 0]
        assert await cells.transact_many(["c", "b", "a"], LookMany()) == [None, (1,), (2,)]
        await cells.transact_many(["a", "c"], Swap())
        assert await cells.read_many(["a", "b", "c"]) == [None, (1,), (2,)]
        assert await cells.transact_many(["b"], AddMany(1)) == [1]

    @scene
    async def test_one_key_twice_in_a_step_is_refused(self, stage: Stage) -> None:
        cells = stage.counters()
        with pytest.raises(ValueError, match="different keys"):
            await cells.transact_many(["a", "b", "a"], AddMany(1, 1, 1))
        assert await cells.read_many(["a", "b"]) == [None, None]

    @scene
    async def test_a_step_on_many_cells_that_raises_changes_none(self, stage: Stage) -> None:
        cells = stage.counters()
        await cells.transact("a", Add(5))
        bug = ZeroDivisionError("in the transition")
        with pytest.raises(ZeroDivisionError) as caught:
            await cells.transact_many(["a", "b"], AddMany(1, 1, raising=bug))
        assert caught.value is bug
        assert await cells.read_many(["a", "b"]) == [(5,), None]

    @scene
    async def test_a_state_that_cannot_be_written_leaves_all_cells_as_they_were(self, stage: Stage) -> None:
        cells = stage.counters()
        # One new state too few: a step is written wholly or not at all.
        await cells.transact_many(["a", "b"], AddMany(1, 1))
        with pytest.raises(ValueError):  # noqa: PT011 - the words are the store's own
            await cells.transact_many(["a", "b"], _OneStateShort())
        assert await cells.read_many(["a", "b"]) == [(1,), (1,)]

    @scene
    async def test_transfers_at_once_in_both_directions_keep_the_sum(self, stage: Stage) -> None:
        cells = stage.counters()
        names = ["a", "b", "c"]
        await cells.transact_many(names, AddMany(100, 100, 100))

        async def transfer(place: int) -> None:
            source, target = names[place % 3], names[(place + 1 + place % 2) % 3]
            keys = [source, target]
            await cells.transact_many(keys, AddMany(-7, 7, allowed=lambda before: before[0] >= 7))
            held = [state[0] for state in await cells.transact_many(names, LookMany())]
            assert sum(held) == 300
            assert min(held) >= 0

        await stage.together([partial(transfer, place) for place in range(60)])

    @scene
    async def test_steps_on_one_and_on_many_cells_at_once_lose_nothing(self, stage: Stage) -> None:
        cells = stage.counters()

        async def job(place: int) -> None:
            await cells.transact_many(["a", "b"] if place % 2 else ["b", "a"], AddMany(1, 1))
            await cells.transact("a", AddByScript() if place % 2 else Add())

        await stage.together([partial(job, place) for place in range(40)])
        assert await cells.read_many(["a", "b"]) == [(80,), (40,)]

    @scene
    async def test_read_many_answers_in_the_order_that_was_asked(self, stage: Stage) -> None:
        cells = stage.counters()
        for place in range(5):
            await cells.transact(f"{place}", Add(place + 1))
        assert await cells.read_many(["3", "none", "0", "3"]) == [(4,), None, (1,), (4,)]
        assert await cells.read_many([]) == []

    @scene
    async def test_delete_forgets_one_cell(self, stage: Stage) -> None:
        cells = stage.counters()
        await cells.transact_many(["a", "b"], AddMany(1, 1))
        await cells.delete("a")
        await cells.delete("a")
        await cells.delete("never")
        assert await cells.read_many(["a", "b"]) == [None, (1,)]
        assert (await cells.transact("a", Add()))[0] == 0

    @scene
    async def test_the_same_space_is_the_same_cells(self, stage: Stage) -> None:
        await stage.counters("one").transact("a", Add(5))
        assert await stage.counters("one").read("a") == (5,)

    @scene
    async def test_different_spaces_share_nothing(self, stage: Stage) -> None:
        # Whatever stands between space and key, it must not be possible to write it into either.
        places = [("s", "a/b"), ("s/a", "b"), ("s%2Fa", "b"), ("S", "a/b"), ("s:a", "b"), ("s", "a:b"), ("s/", "a/b")]
        for number, (space, key) in enumerate(places):
            await stage.counters(space).transact(key, Put((number,)))
        read = [await stage.counters(space).read(key) for space, key in places]
        assert read == [(number,) for number in range(len(places))]
        await stage.counters("s").delete("a/b")
        assert await stage.counters("s/a").read("b") == (1,)

    @scene
    async def test_any_text_of_up_to_1024_bytes_is_a_key(self, stage: Stage) -> None:
        cells = stage.counters()
        for number, key in enumerate(ODD_KEYS):
            assert (await cells.transact(key, Add(number)))[0] == 0, key
        assert_same(await cells.read_many(ODD_KEYS), [(number,) for number in range(len(ODD_KEYS))])
        before = await cells.transact_many(ODD_KEYS, AddMany(*[1] * len(ODD_KEYS)))
        assert_same(before, range(len(ODD_KEYS)))
        for key in ODD_KEYS:
            await cells.delete(key)
        assert_same(await cells.read_many(ODD_KEYS), [None] * len(ODD_KEYS))

    @scene
    async def test_a_state_comes_back_as_it_went(self, stage: Stage) -> None:
        cells = stage.cells("json", any_json())
        for number, value in enumerate(ODD_VALUES):
            # Wrapped, since None is how a cell without a state looks.
            await cells.transact(f"{number}", Put([value]))
            assert_same([await cells.read(f"{number}"), await cells.transact(f"{number}", Look())], [[value], [value]])

    @scene
    async def test_whole_numbers_of_any_size_come_back_exactly(self, stage: Stage) -> None:
        cells = stage.counters()
        numbers = (0, -1, 2**53 - 1, 2**53 + 1, -(2**63), 10**40)
        await cells.transact("a", Put(numbers))
        await cells.transact("none", Put(()))
        assert await cells.read_many(["a", "none"]) == [numbers, ()]

    @scene
    async def test_bytes_come_back_whatever_they_look_like(self, stage: Stage) -> None:
        cells = stage.cells("bytes", BytesCodec())
        values = [b"", b"|", b"1|2", b"\x00", b"nil", b"1:5 7", bytes(range(256)), b"\xff" * 100_000]
        for number, value in enumerate(values):
            await cells.transact(f"{number}", Put(value))
        assert_same(await cells.read_many([f"{number}" for number in range(len(values))]), values)
        assert_same([await cells.transact(f"{number}", Look()) for number in range(len(values))], values)

    @scene
    async def test_a_wake_is_heard_once_the_new_state_can_be_read(self, stage: Stage) -> None:
        await _hear_each_step(stage, lambda cells, topic: cells.transact("a", Add(wake=(topic,))))

    @scene
    async def test_a_step_on_many_cells_wakes_too(self, stage: Stage) -> None:
        await _hear_each_step(
            stage, lambda cells, topic: cells.transact_many(["a", "b"], AddMany(1, 1, wake=(topic, topic + "2")))
        )

    def test_it_can_be_opened_again_after_it_was_closed(self) -> None:
        stage = built(self)
        for times in range(3):

            async def play(on: Stage, times: int = times) -> None:
                assert (await on.counters().transact("a", Add()))[0] == times

            run(self.runtime, partial(opened, stage, play))

    def test_cells_may_be_asked_for_before_anything_runs(self) -> None:
        stage = built(self)
        cells = stage.counters()

        async def play(on: Stage) -> None:
            assert await add_each(cells, "a", 3) == [0, 1, 2]
            assert await on.counters().read("a") == (3,)

        run(self.runtime, lambda: opened(stage, play))


class _OneStateShort(AddMany):
    """A transition with a bug: it gives fewer states than it was given."""

    def __init__(self) -> None:
        super().__init__(1, 1)

    def __call__(self, states: Any, now_us: int, /) -> Any:
        after, answer, keeps_s, wake = super().__call__(states, now_us)
        return (after[:1], answer, keeps_s[:1], wake)


async def _hear_each_step(
    stage: Stage, step: Callable[[Cells[tuple[int, ...]], str], Coroutine[Any, Any, Any]]
) -> None:
    cells, topic = stage.counters(), stage.topic("woken")
    ready, heard = current().waiter(), current().waiter()
    rounds = 20

    async def listens() -> None:
        async with stage.signals.subscribe(topic) as subscription:
            ready.wake()
            for number in range(1, rounds + 1):
                # A hint may come for nothing, so look again; but the one that counts must come
                # after the write, or no signal comes for it.
                while await cells.read("a") != (number,):
                    assert await subscription.wait(HEARD_WITHIN_S), f"step {number} was never notified"
                heard.wake()

    async def steps() -> None:
        assert await ready.wait(HEARD_WITHIN_S)
        for _ in range(rounds):
            await step(cells, topic)
            assert await heard.wait(HEARD_WITHIN_S)

    await stage.together([listens, steps])
