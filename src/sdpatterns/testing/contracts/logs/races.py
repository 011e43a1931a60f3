"""The contract of `EventLog`: writers and readers at once."""

from __future__ import annotations

from functools import partial

from sdpatterns.errors import VersionConflict
from sdpatterns.ports.log import EventLog, RecordedEvent
from sdpatterns.testing.contracts.logs.scenes import append, assert_log, ids_of, log_scene, numbered, pause, walk
from sdpatterns.testing.contracts.stage import BackendContract, Job, Stage
from sdpatterns.testing.contracts.verdicts import assert_same

__all__ = ["LogRaces", "follow"]


async def follow(log: EventLog, total: int, into: list[RecordedEvent]) -> None:
    """Read until so many events were seen."""
    async with log.subscribe() as events:
        while len(into) < total:
            into.extend((await events.next_page()).events)


class LogRaces(BackendContract):
    """Of two writers of a version one succeeds; readers beside them skip nothing."""

    @log_scene
    async def test_of_writers_that_expect_the_same_version_one_succeeds(self, stage: Stage, log: EventLog) -> None:
        async def writes(place: int, version: int) -> int:
            try:
                at = await append(log, "a", f"{place}-{version}", f"{place}-{version}+", expected=version)
            except VersionConflict as refused:
                return -refused.found
            return at.version

        for version in range(0, 10, 2):
            answers = await stage.together([partial(writes, place, version) for place in range(8)])
            assert_same(sorted(answers), [-version - 2] * 7 + [version + 2])
        found = await walk(log)
        assert_log(found)
        assert_same([each.id for each in found[1::2]], [f"{each.id}+" for each in found[::2]])

    @log_scene
    async def test_of_one_append_that_is_sent_several_times_at_once_one_is_kept(
        self, stage: Stage, log: EventLog
    ) -> None:
        async def sends() -> tuple[int, int]:
            return await log.append("a", 0, numbered(3))

        answers = await stage.together([sends for _ in range(8)])
        assert_same(answers, answers[:1] * 8)
        assert ids_of(await walk(log)) == ["e0", "e1", "e2"]

    @log_scene
    async def test_writers_of_any_version_lose_nothing(self, stage: Stage, log: EventLog) -> None:
        async def writes(place: int) -> list[int]:
            return [(await append(log, "a", f"{place}-{number}", f"{place}-{number}+")).version for number in range(5)]

        answers = await stage.together([partial(writes, place) for place in range(8)])
        assert_same(sorted(version for each in answers for version in each), [*range(2, 82, 2)])
        found = await walk(log)
        assert_log(found)
        assert_same([each.id for each in found[1::2]], [f"{each.id}+" for each in found[::2]])

    @log_scene
    async def test_readers_beside_writers_skip_nothing_and_see_one_order(self, stage: Stage, log: EventLog) -> None:
        seen: list[list[RecordedEvent]] = [[], []]

        async def writes(place: int) -> None:
            for number in range(10):
                await append(log, f"s{place}", *(f"{place}-{number}-{part}" for part in range(1 + number % 3)))
                await append(log, "shared", f"{place}-{number}")
                await pause()

        total = 5 * (10 + sum(1 + number % 3 for number in range(10)))
        readers: list[Job[None]] = [partial(follow, log, total, into) for into in seen]
        writers: list[Job[None]] = [partial(writes, place) for place in range(5)]
        await stage.together([*readers, *writers])
        whole = await walk(log)
        assert len(whole) == total
        assert_log(whole)
        for each in seen:
            assert_same(each, whole)
