"""More of `StateStore`: stores that keep bytes elsewhere, and callers that are cancelled meanwhile."""

from __future__ import annotations

import asyncio
import itertools
from functools import partial
from typing import Any

import pytest

from sdpatterns.core.codec import IntegersCodec, JsonCodec
from sdpatterns.errors import CodecError, UnknownVersion
from sdpatterns.testing.contracts.stage import BackendContract, Stage, scene
from sdpatterns.testing.contracts.steps import (
    Add,
    AddByScript,
    AddMany,
    Look,
    Put,
    Time,
    add_each,
)
from sdpatterns.testing.contracts.values import BytesCodec, any_json

__all__ = ["CancelledStatesContract", "StoredStatesContract"]


class CancelledStatesContract(BackendContract):
    """A caller may be cancelled at every await without an effect on other callers."""

    runtime = "asyncio"

    @scene
    async def test_cancelling_some_callers_harms_no_other(self, stage: Stage) -> None:
        cells = stage.counters()
        for turns in range(12):
            before = await cells.transact("a", Look())
            tasks = [asyncio.ensure_future(add_each(cells, "a", 3)) for _ in range(30)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks[::3]:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            failed = [end for end in ended if isinstance(end, Exception)]
            assert not failed, f"{len(failed)} callers failed, the first with {failed[0]!r}"
            done = [end for end in ended if isinstance(end, list)]
            answers = list(itertools.chain(*done))
            assert len(done) >= 20
            assert len(set(answers)) == len(answers), "one state was given to two steps"
            after = await cells.transact("a", Look())
            grown = (after[0] if after else 0) - (before[0] if before else 0)
            assert len(answers) <= grown <= 90

    @scene
    async def test_a_cancelled_first_caller_does_not_take_the_others_along(self, stage: Stage) -> None:
        cells = stage.counters()
        first = asyncio.ensure_future(cells.transact("a", Add()))
        others = [asyncio.ensure_future(cells.transact(f"{place % 3}", Add())) for place in range(30)]
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait_for(asyncio.gather(*others), 60.0)
        await asyncio.wait({first}, timeout=60.0)
        assert first.done()
        assert await cells.read_many(["0", "1", "2"]) == [(10,)] * 3
        assert (await cells.read("a") or (0,))[0] in {0, 1}

    @scene
    async def test_a_connection_is_in_step_after_a_cancellation(self, stage: Stage) -> None:
        cells = stage.counters()
        for place in range(40):
            await cells.transact(f"{place}", Put((place,)))
        for place in range(40):
            reader = asyncio.ensure_future(cells.read(f"{place}"))
            for _ in range(place % 5):
                await asyncio.sleep(0)
            reader.cancel()
            assert await cells.read(f"{place}") == (place,)
            await asyncio.gather(reader, return_exceptions=True)


class StoredStatesContract(BackendContract):
    """Of stores that keep bytes, which other clients and other releases read."""

    @scene
    async def test_another_client_sees_what_was_written(self, stage: Stage) -> None:
        other = stage.another()
        async with other.backend:
            await stage.counters().transact("a", Add(5))
            assert await other.counters().read("a") == (5,)
            assert (await other.counters().transact("a", Add()))[0] == 5
            assert await stage.counters().read("a") == (6,)

    @scene
    async def test_steps_of_several_clients_at_once_lose_nothing(self, stage: Stage) -> None:
        other = stage.another()
        async with other.backend:

            async def job(on: Stage) -> None:
                for _ in range(5):
                    await on.counters().transact("a", Add())
                    await on.counters().transact_many(["b", "a"], AddMany(1, 1))

            await stage.together([partial(job, on) for on in [stage, other] * 10])
            assert await stage.counters().read_many(["a", "b"]) == [(200,), (100,)]

    @scene
    async def test_time_never_goes_back_though_clients_disagree(self, stage: Stage) -> None:
        other = stage.another()
        async with other.backend:
            stage.shift(30.0)
            other.shift(-30.0)
            seen = []
            for on in [stage, other] * 3:
                seen.append(await on.counters().transact("a", Time()))
                seen.append((await on.counters().transact("a", AddByScript()))[1])
            assert seen == sorted(seen)

    @scene
    async def test_clients_disagree_on_the_time_by_no_more_than_the_clock_says(self, stage: Stage) -> None:
        other = stage.another()
        async with other.backend:
            # On cells that do not exist, because the last write of a cell would hide what its clients think.
            seen = [await on.counters().transact(f"{place}", Time()) for place, on in enumerate([stage, other] * 5)]
        back_us = max(earlier - later for earlier, later in itertools.combinations(seen, 2))
        assert back_us <= stage.backend.states.clock.by_us

    @scene
    async def test_creating_again_keeps_what_is_there(self, stage: Stage) -> None:
        await stage.counters().transact("a", Add(5))
        await stage.backend.create()
        assert await stage.counters().read("a") == (5,)

    @scene
    async def test_a_newer_version_is_refused_and_left_as_it_is(self, stage: Stage) -> None:
        newer = stage.cells("versions", IntegersCodec(version=2))
        ours = stage.cells("versions", IntegersCodec(version=1))
        await newer.transact("a", Put((1, 2)))
        with pytest.raises(UnknownVersion):
            await ours.transact("a", Put((9,)))
        with pytest.raises(UnknownVersion):
            await ours.read("a")
        with pytest.raises(UnknownVersion):
            await ours.transact_many(["b", "a"], AddMany(1, 1))
        assert await newer.read("a") == (1, 2)
        assert await ours.read("b") is None

    @scene
    async def test_an_older_version_is_brought_forward(self, stage: Stage) -> None:
        old = stage.cells("people", JsonCodec[Any](lambda name: name, lambda plain: plain))
        new = stage.cells(
            "people",
            JsonCodec[Any](lambda value: value, lambda plain: plain, version=2, older={1: lambda name: {"name": name}}),
        )
        await old.transact("a", Put("Ada"))
        assert await new.read("a") == {"name": "Ada"}
        assert await new.transact("a", Look()) == {"name": "Ada"}

    @scene
    async def test_bytes_that_are_no_state_are_refused_and_left_as_they_are(self, stage: Stage) -> None:
        raw = stage.cells("forged", BytesCodec())
        for number, forged in enumerate([b"", b"\x80\x05K\x01.", b"1:x", b"no version", b"-1:5"]):
            await raw.transact(f"{number}", Put(forged))
            with pytest.raises(CodecError):
                await stage.counters("forged").transact(f"{number}", Add())
            assert await raw.read(f"{number}") == forged

    @scene
    async def test_a_value_that_the_codec_cannot_write_changes_nothing(self, stage: Stage) -> None:
        cells = stage.cells("json", any_json())
        await cells.transact("a", Put(1))
        with pytest.raises(TypeError):
            await cells.transact("a", Put(object()))
        assert await cells.read("a") == 1
