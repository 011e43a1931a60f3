"""The contract of `EventLog`: what is no longer kept."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sdpatterns.errors import EventsTrimmed, VersionConflict
from sdpatterns.ports.log import EventLog, RecordedEvent
from sdpatterns.ports.log_archive import LogArchive
from sdpatterns.testing.contracts.logs.scenes import append, ids_of, log_scene, numbered, read_ids, walk
from sdpatterns.testing.contracts.stage import BackendContract, Stage
from sdpatterns.testing.contracts.verdicts import assert_same

__all__ = ["LogTrims"]


class LogTrims(BackendContract):
    """A reader learns that it would skip events; a stream keeps its version."""

    @log_scene
    async def test_events_before_a_position_are_dropped(self, stage: Stage, log: EventLog) -> None:
        await log.append("a", 0, numbered(4, "a"))
        await log.append("b", 0, numbered(4, "b"))
        cut = (await log.read("b")).events[2].position
        assert await log.trim(cut) == 6
        assert await log.trim(cut) == 0
        assert await log.trim(1) == 0
        head = await log.head()
        assert (head.trimmed, head.thinned) == (cut - 1, 0)
        with pytest.raises(EventsTrimmed) as refused:
            await log.read_all()
        assert (refused.value.name, refused.value.stream, refused.value.after) == (log.name, "", 0)
        assert refused.value.trimmed == cut - 1
        assert_same(ids_of(await walk(log, 1, refused.value.trimmed)), ["b2", "b3"])

    @log_scene
    async def test_a_stream_keeps_its_version(self, stage: Stage, log: EventLog) -> None:
        await log.append("a", 0, numbered(3, "a"))
        await log.append("b", 0, numbered(3, "b"))
        await log.trim((await log.read("b")).events[1].position)
        assert (await log.read("a", 3)).version == 3
        with pytest.raises(EventsTrimmed) as refused:
            await log.read("a")
        assert (refused.value.stream, refused.value.after, refused.value.trimmed) == ("a", 0, 3)
        with pytest.raises(EventsTrimmed) as refused:
            await log.read("b")
        assert refused.value.trimmed == 1
        assert ids_of((await log.read("b", 1)).events) == ["b1", "b2"]
        assert ids_of((await log.read("b", backwards=True)).events) == ["b2", "b1"]
        assert ids_of((await log.read("b", 2, backwards=True)).events) == []
        assert list((await log.read("a", backwards=True)).events) == []
        with pytest.raises(VersionConflict):
            await append(log, "a", "x", expected=0)
        # An append of which only the events are gone can no longer be recognised.
        with pytest.raises(VersionConflict):
            await log.append("a", 0, numbered(3, "a"))
        assert (await append(log, "a", "a3", expected=3)).version == 4
        assert ids_of((await log.read("a", 3)).events) == ["a3"]

    @log_scene
    async def test_positions_go_on_behind_a_trim(self, stage: Stage, log: EventLog) -> None:
        last = await log.append("a", 0, numbered(3))
        assert await log.trim(last.position + 1_000) == 3
        head = await log.head()
        assert head.trimmed <= head.position
        at = await append(log, "a", "x")
        assert at.position > last.position
        assert ids_of(await walk(log, 10, head.trimmed)) == ["x"]
        assert await log.trim(0) == 0

    @log_scene
    async def test_one_stream_is_trimmed_and_readers_can_see_it(self, stage: Stage, log: EventLog) -> None:
        await log.append("a", 0, numbered(3, "a"))
        await log.append("b", 0, numbered(2, "b"))
        await append(log, "a", "a3", expected=3)
        gone = (await log.read("a")).events[1].position
        assert await log.trim_stream("a", 3) == 2
        assert await log.trim_stream("a", 3) == 0
        assert await log.trim_stream("none", 3) == 0
        page = await log.read_all()
        assert_same(ids_of(page.events), ["a2", "b0", "b1", "a3"])
        assert page.thinned == gone
        assert (await log.head())[1:] == (0, gone)
        assert_same(ids_of(await walk(log, 1)), ["a2", "b0", "b1", "a3"])
        with pytest.raises(EventsTrimmed) as refused:
            await log.read("a", 1)
        assert (refused.value.stream, refused.value.trimmed) == ("a", 2)
        assert await read_ids(log, "b") == ["b0", "b1"]

    @log_scene
    async def test_a_stream_that_is_trimmed_whole_goes_on(self, stage: Stage, log: EventLog) -> None:
        await log.append("a", 0, numbered(3, "a"))
        assert await log.trim_stream("a", 1_000) == 3
        assert await walk(log) == []
        assert (await log.read("a", 3)).version == 3
        assert (await append(log, "a", "a3", expected=3)).version == 4
        assert ids_of(await walk(log)) == ["a3"]
        assert await log.trim((await log.head()).position + 1) == 1
        assert (await append(log, "a", "a4", expected=4)).version == 5

    @log_scene
    async def test_an_archive_gets_events_before_they_are_dropped(self, stage: Stage, log: EventLog) -> None:
        await log.append("a", 0, numbered(5, "a"))
        await log.append("b", 0, numbered(4, "b"))
        kept: list[str] = []

        def keep(events: Sequence[RecordedEvent]) -> None:
            if len(kept) == 4:
                raise OSError("the archive is full")
            kept.extend(ids_of(events))

        async def keep_later(events: Sequence[RecordedEvent]) -> None:
            kept.extend(ids_of(events))

        # Of a stream, then of the rest; one that fails drops nothing more.
        assert await LogArchive(log, keep, limit=2).trim_stream("a", 5) == 4
        assert kept == ["a0", "a1", "a2", "a3"]
        cut = (await log.read("b")).events[2].position
        with pytest.raises(OSError, match="full"):
            await LogArchive(log, keep, limit=2).trim(cut)
        assert_same(ids_of(await walk(log)), ["a4", "b0", "b1", "b2", "b3"])
        assert await LogArchive(log, keep_later, limit=2).trim(cut) == 3
        assert kept[4:] == ["a4", "b0", "b1"]
        assert await LogArchive(log, keep_later, limit=2).trim_stream("b", 4) == 1
        assert await LogArchive(log, keep_later).trim_stream("b", 4) == 0
        assert kept[7:] == ["b2"]
        assert_same(ids_of(await walk(log, 10, cut - 1)), ["b3"])
