"""The contract of `EventLog`: one order for all readers, and waking them."""

from __future__ import annotations

import pytest

from sdpatterns.core.runtime import current
from sdpatterns.ports.log import EventLog, RecordedEvent
from sdpatterns.testing.contracts.logs.scenes import (
    HEARD_WITHIN_S,
    append,
    assert_log,
    ids_of,
    log_scene,
    numbered,
    walk,
)
from sdpatterns.testing.contracts.stage import BackendContract, Stage
from sdpatterns.testing.contracts.verdicts import assert_same

__all__ = ["LogOrder"]


class LogOrder(BackendContract):
    """Every reader gets the same events in the same order, at whatever position it begins."""

    @log_scene
    async def test_an_empty_log(self, stage: Stage, log: EventLog) -> None:
        page = await log.read_all()
        assert (list(page.events), page.is_more, page.held_s, page.thinned) == ([], False, None, 0)
        # Logs may share their numbers, so that others move the head.
        assert page.position == page.head <= (await log.head()).position
        assert (await log.head())[1:] == (0, 0)

    @log_scene
    async def test_positions_grow_with_every_append(self, stage: Stage, log: EventLog) -> None:
        given = [await append(log, f"s{number % 3}", f"{number}", f"{number}+") for number in range(12)]
        found = await walk(log)
        assert_log(found)
        assert_same(ids_of(found), [name for number in range(12) for name in (f"{number}", f"{number}+")])
        assert_same([each.position for each in found[1::2]], [at.position for at in given])
        head = await log.head()
        assert head.position >= given[-1].position
        page = await log.read_all(given[-1].position)
        assert list(page.events) == []
        assert page.position == page.head >= head.position

    @log_scene
    async def test_readers_that_begin_anywhere_see_the_same_sequence(self, stage: Stage, log: EventLog) -> None:
        for number in range(10):
            await append(log, f"s{number % 4}", *(f"{number}-{place}" for place in range(3)))
        whole = await walk(log, 1_000)
        assert len(whole) == 30
        for place, begin in enumerate(whole):
            assert_same(await walk(log, 1 + place % 5, begin.position), whole[place + 1 :])
        # Between two positions, too.
        assert_same(await walk(log, 7, whole[0].position - 1), whole)

    @log_scene
    async def test_a_page_says_whether_there_is_more(self, stage: Stage, log: EventLog) -> None:
        await log.append("a", 0, numbered(4))
        page = await log.read_all(0, 3)
        assert (len(page.events), page.is_more, page.position) == (3, True, page.events[-1].position)
        assert page.head > page.position
        page = await log.read_all(page.position, 3)
        assert (ids_of(page.events), page.is_more, page.position) == (["e3"], False, page.head)

    @log_scene
    async def test_an_append_wakes_who_waits(self, stage: Stage, log: EventLog) -> None:
        async with stage.signals.subscribe(log.topic) as subscription:
            for number in range(3):
                await append(log, "a", f"{number}")
                assert await subscription.wait(HEARD_WITHIN_S), "nothing was announced"

    @log_scene
    async def test_a_subscription_catches_up_and_then_is_live(self, stage: Stage, log: EventLog) -> None:
        await log.append("a", 0, numbered(7))
        after = (await log.read("a")).events[1].position
        caught_up = current().waiter()
        seen: list[RecordedEvent] = []

        async def reads() -> None:
            async with log.subscribe(after) as events:
                assert events.position == after
                async for each in events:
                    seen.append(each)
                    assert events.position == each.position
                    if len(seen) == 5:
                        caught_up.wake()
                    if len(seen) == 11:
                        return

        async def writes() -> None:
            assert await caught_up.wait(HEARD_WITHIN_S)
            for number in range(3):
                await append(log, f"b{number}", f"{number}", f"{number}+")

        await stage.together([reads, writes])
        assert_same(seen, (await walk(log, 4, after)))
        assert len(seen) == 11

    @log_scene
    async def test_a_subscription_by_pages(self, stage: Stage, log: EventLog) -> None:
        subscription = log.subscribe()
        with pytest.raises(RuntimeError, match="enter"):
            await subscription.next_page()
        await log.append("a", 0, numbered(3))
        async with subscription as events:
            page = await events.next_page()
            assert ids_of(page.events) == ["e0", "e1", "e2"]
            assert events.page == page
            page = await events.next_page(0.0)
            assert (list(page.events), page.position) == ([], events.position)
            await append(log, "a", "x", "y", "z")
            async for each in events:
                assert each.id == "x"
                break
            assert ids_of((await events.next_page()).events) == ["y", "z"]
            assert events.position >= (await log.read("a")).events[-1].position
