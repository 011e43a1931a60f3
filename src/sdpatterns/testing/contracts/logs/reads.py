"""The contract of `EventLog`: reading one stream."""

from __future__ import annotations

import pytest

from sdpatterns.ports.log import LIMIT_MAX, EventLog
from sdpatterns.testing.contracts.logs.scenes import append, event, ids_of, log_scene, numbered
from sdpatterns.testing.contracts.stage import BackendContract, Stage
from sdpatterns.testing.contracts.verdicts import assert_same

__all__ = ["LogReads"]


class LogReads(BackendContract):
    """A stream is read forward or backwards, from a version on, as many events as are wanted."""

    @log_scene
    async def test_a_stream_that_does_not_exist_is_empty(self, stage: Stage, log: EventLog) -> None:
        await append(log, "a", "1")
        for after, backwards in ((0, False), (5, False), (0, True), (5, True)):
            page = await log.read("none", after, backwards=backwards)
            assert (list(page.events), page.version) == ([], 0)

    @log_scene
    async def test_forward(self, stage: Stage, log: EventLog) -> None:
        await log.append("a", 0, numbered(10))
        await append(log, "b", "other")
        for after, limit, wanted in ((0, 100, range(10)), (0, 3, range(3)), (3, 3, range(3, 6)), (9, 3, [9])):
            page = await log.read("a", after, limit)
            assert_same(ids_of(page.events), [f"e{number}" for number in wanted])
            assert page.version == 10
        for after in (10, 11, 1_000):
            page = await log.read("a", after)
            assert (list(page.events), page.version) == ([], 10)

    @log_scene
    async def test_backwards(self, stage: Stage, log: EventLog) -> None:
        await append(log, "b", "other")
        await log.append("a", 0, numbered(10))
        await append(log, "b", "another")
        for after, limit, wanted in (
            (0, 100, range(10)),
            (0, 3, (7, 8, 9)),
            (8, 3, (4, 5, 6)),
            (2, 3, [0]),
            (1, 3, []),
        ):
            page = await log.read("a", after, limit, backwards=True)
            assert_same(ids_of(page.events), [f"e{number}" for number in reversed(wanted)])
            assert page.version == 10
        assert ids_of((await log.read("a", 100, 2, backwards=True)).events) == ["e9", "e8"]

    @log_scene
    async def test_a_stream_of_many_pages(self, stage: Stage, log: EventLog) -> None:
        for begin in range(0, 250, 50):
            await log.append("a", begin, [event(f"{begin + place}") for place in range(50)])
        found: list[str] = []
        while events := (await log.read("a", len(found), 40)).events:
            found += ids_of(events)
        assert_same(found, [f"{number}" for number in range(250)])
        back: list[str] = []
        last = 0
        while events := (await log.read("a", last, 40, backwards=True)).events:
            back += ids_of(events)
            last = events[-1].version
            if last == 1:
                break
        assert_same(back, found[::-1])

    @log_scene
    async def test_a_page_has_bounds(self, stage: Stage, log: EventLog) -> None:
        for after, limit in ((-1, 1), (0, 0), (0, LIMIT_MAX + 1), (1.0, 1), (0, 1.0)):
            with pytest.raises(ValueError, match=r"after|limit"):
                await log.read("a", after, limit)  # type: ignore[arg-type]
            with pytest.raises(ValueError, match=r"after|limit"):
                await log.read_all(after, limit)  # type: ignore[arg-type]
