"""More of `EventLog`: logs of several clients, callers that are cancelled, and a bound."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from sdpatterns.errors import BackendFull, VersionConflict
from sdpatterns.ports.log import EventLog, LogSettings, RecordedEvent
from sdpatterns.testing.contracts.logs.races import follow
from sdpatterns.testing.contracts.logs.scenes import (
    HEARD_WITHIN_S,
    append,
    assert_log,
    event,
    ids_of,
    log_scene,
    numbered,
    read_ids,
    walk,
)
from sdpatterns.testing.contracts.stage import BackendContract, Job, Stage
from sdpatterns.testing.contracts.verdicts import assert_same

__all__ = ["BoundedLogContract", "CancelledLogContract", "SharedLogContract"]


class SharedLogContract(BackendContract):
    """Of logs that several clients of one backend share."""

    @log_scene
    async def test_another_client_reads_what_was_appended(self, stage: Stage, log: EventLog) -> None:
        other = stage.another()
        async with other.backend:
            theirs = other.log()
            await append(log, "a", "1", "2", expected=0)
            assert await read_ids(theirs, "a") == ["1", "2"]
            with pytest.raises(VersionConflict):
                await append(theirs, "a", "x", expected=0)
            await append(theirs, "a", "3", expected=2)
            assert_same(await walk(log), await walk(theirs))

    @log_scene
    async def test_a_reader_of_another_client_is_woken(self, stage: Stage, log: EventLog) -> None:
        other = stage.another()
        async with other.backend, other.signals.subscribe(other.log().topic) as subscription:
            for number in range(3):
                await append(log, "a", f"{number}")
                assert await subscription.wait(HEARD_WITHIN_S)

    @log_scene
    async def test_writers_and_readers_of_several_clients(self, stage: Stage, log: EventLog) -> None:
        other = stage.another()
        async with other.backend:
            seen: list[list[RecordedEvent]] = [[], []]

            async def writes(on: Stage, name: str) -> None:
                for number in range(12):
                    await append(on.log(), f"{name}{number % 3}", f"{name}{number}", f"{name}{number}+")
                    await append(on.log(), "shared", f"{name}{number}")

            readers: list[Job[None]] = [
                partial(follow, on.log(), 4 * 36, into) for on, into in zip((stage, other), seen, strict=True)
            ]
            writers: list[Job[None]] = [
                partial(writes, on, name) for on, name in zip((stage, other) * 2, "abcd", strict=True)
            ]
            await stage.together([*readers, *writers])
            whole = await walk(log)
            assert_log(whole)
            for each in seen:
                assert_same(each, whole)

    @log_scene
    async def test_creating_again_keeps_what_is_there(self, stage: Stage, log: EventLog) -> None:
        await append(log, "a", "1")
        await stage.backend.create()
        assert await read_ids(log, "a") == ["1"]


class CancelledLogContract(BackendContract):
    """A caller may be cancelled at every await: each append happened wholly or not at all."""

    runtime = "asyncio"

    @log_scene
    async def test_a_cancelled_append_adds_all_or_nothing(self, stage: Stage, log: EventLog) -> None:
        for turns in range(12):
            stream = f"s{turns}"
            task = asyncio.ensure_future(log.append(stream, 0, numbered(3)))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            # Either it is there, or it is made now; nothing between.
            assert (await log.append(stream, 0, numbered(3))).version == 3
            assert await read_ids(log, stream) == ["e0", "e1", "e2"]
        assert_log(await walk(log))

    @log_scene
    async def test_cancelling_some_harms_no_other(self, stage: Stage, log: EventLog) -> None:
        for turns in range(8):
            tasks = [asyncio.ensure_future(append(log, f"{turns}-{place}", "1")) for place in range(20)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks[::3]:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            failed = [end for end in ended if isinstance(end, Exception)]
            assert not failed, f"{len(failed)} callers failed, the first with {failed[0]!r}"
            there = {each.stream for each in await walk(log, 1_000)}
            missing = [place for place in range(20) if place % 3 and f"{turns}-{place}" not in there]
            assert not missing, f"{len(missing)} appends of callers that were not cancelled are missing"

    @log_scene
    async def test_a_cancelled_subscription_loses_nothing(self, stage: Stage, log: EventLog) -> None:
        seen: list[str] = []
        position = 0

        async def reads() -> None:
            nonlocal position
            async with log.subscribe(position) as events:
                async for each in events:
                    seen.append(each.id)
                    position = events.position

        for turns in range(12):
            task = asyncio.ensure_future(reads())
            await append(log, "a", f"{turns}")
            for _ in range(turns * 3):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        seen += ids_of(await walk(log, 100, position))
        assert_same(seen, [f"{turns}" for turns in range(12)])


class BoundedLogContract(BackendContract):
    """Of logs that hold the events in this process, and so bound their number."""

    @log_scene
    async def test_no_more_events_than_the_bound(self, stage: Stage, log: EventLog) -> None:
        small = stage.log("small", LogSettings(events_max=5))
        await small.append("a", 0, numbered(4))
        with pytest.raises(BackendFull):
            await append(small, "b", "1", "2")
        assert (await small.read("b")).version == 0
        await append(small, "b", "1", expected=0)
        with pytest.raises(BackendFull):
            await append(small, "b", "2", expected=1)
        # What happened already needs no room.
        assert (await small.append("b", 0, [event("1")])).version == 1
        assert await small.trim((await small.read("a")).events[2].position) == 2
        await append(small, "b", "2", "3", expected=1)

    @log_scene
    async def test_a_stream_without_events_counts_as_one(self, stage: Stage, log: EventLog) -> None:
        small = stage.log("small", LogSettings(events_max=5))
        for number in range(5):
            await append(small, f"s{number}", "1")
            await small.trim_stream(f"s{number}", 2)
        with pytest.raises(BackendFull):
            await append(small, "new", "1")
        with pytest.raises(BackendFull):
            await append(small, "s0", "2", "3")
