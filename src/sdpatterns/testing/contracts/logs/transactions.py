"""The contract of `EventLog` on a transaction of the caller's: `backend.within(session).log(name)`."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import ClassVar, Protocol

import pytest

from sdpatterns.core.runtime import current
from sdpatterns.errors import VersionConflict
from sdpatterns.ports.backend import HasLogs
from sdpatterns.ports.log import EventLog
from sdpatterns.testing.contracts.logs.scenes import (
    HEARD_WITHIN_S,
    append,
    assert_log,
    ids_of,
    log_scene,
    read_ids,
    walk,
)
from sdpatterns.testing.contracts.stage import BackendContract, BackendUnderTest, Stage
from sdpatterns.testing.contracts.verdicts import assert_same

__all__ = ["OpenLogTransaction", "TransactionalLogContract"]


class OpenLogTransaction(Protocol):
    """A transaction of the caller's that has begun, and the ports within it."""

    @property
    def ports(self) -> HasLogs:
        """What `backend.within(session)` gives."""
        ...

    async def commit(self) -> None:
        """Commit, and begin no other."""
        ...

    async def rollback(self) -> None:
        """Undo all of it."""
        ...


class TransactionalLogContract(BackendContract):
    """What is appended within a transaction is there after its commit, and never was where it was rolled back.

    A subclass begins one as in `TransactionalQueueContract`. `writers_at_once` is False where a database lets one
    transaction write at a time, as SQLite does.
    """

    writers_at_once: ClassVar[bool] = True

    def transaction(self, backend: BackendUnderTest, /) -> AbstractAsyncContextManager[OpenLogTransaction]:
        """Begin a transaction; leaving the block without a commit undoes it."""
        raise NotImplementedError

    def _within(self, stage: Stage, opened: OpenLogTransaction) -> EventLog:
        return opened.ports.log(stage.log().name)

    @log_scene
    async def test_events_are_there_after_the_commit_and_not_before(self, stage: Stage, log: EventLog) -> None:
        async with self.transaction(stage.backend) as opened:
            inside = self._within(stage, opened)
            assert (await append(inside, "a", "1", "2", expected=0)).version == 2
            assert (await append(inside, "a", "3", expected=2)).version == 3
            assert await read_ids(inside, "a") == ["1", "2", "3"]
            assert (await log.read("a")).version == 0
            assert list((await log.read_all()).events) == []
            await opened.commit()
        assert ids_of(await walk(log)) == ["1", "2", "3"]

    @log_scene
    async def test_a_rollback_leaves_nothing_and_holds_up_no_reader(self, stage: Stage, log: EventLog) -> None:
        async with self.transaction(stage.backend) as opened:
            await append(self._within(stage, opened), "a", "1", "2", expected=0)
            await opened.rollback()
        async with self.transaction(stage.backend) as opened:
            await append(self._within(stage, opened), "a", "3", expected=0)
        await append(log, "b", "4", expected=0)
        page = await log.read_all()
        assert (ids_of(page.events), page.held_s, page.position) == (["4"], None, page.head)
        assert (await append(log, "a", "1", expected=0)).version == 1

    @log_scene
    async def test_a_conflict_leaves_the_transaction_usable(self, stage: Stage, log: EventLog) -> None:
        await append(log, "a", "1")
        async with self.transaction(stage.backend) as opened:
            inside = self._within(stage, opened)
            await append(inside, "b", "2", expected=0)
            with pytest.raises(VersionConflict):
                await append(inside, "a", "x", expected=0)
            await append(inside, "a", "3", expected=1)
            await opened.commit()
        found = await walk(log)
        assert ids_of(found) == ["1", "2", "3"]
        assert_log(found)

    @log_scene
    async def test_a_commit_wakes_who_waits(self, stage: Stage, log: EventLog) -> None:
        async with stage.signals.subscribe(log.topic) as subscription:
            async with self.transaction(stage.backend) as opened:
                await append(self._within(stage, opened), "a", "1")
                await opened.commit()
            assert await subscription.wait(HEARD_WITHIN_S), "nothing was announced"

    @log_scene
    async def test_within_a_transaction_there_is_no_subscription(self, stage: Stage, log: EventLog) -> None:
        async with self.transaction(stage.backend) as opened:
            with pytest.raises(TypeError, match="transaction"):
                self._within(stage, opened).subscribe()

    @log_scene
    async def test_a_reader_waits_for_a_slow_transaction_with_a_smaller_position(
        self, stage: Stage, log: EventLog
    ) -> None:
        if not self.writers_at_once:
            return
        await append(log, "a", "1")
        async with self.transaction(stage.backend) as opened:
            slow = await append(self._within(stage, opened), "slow", "2")
            quick = await append(log, "quick", "3")
            assert quick.position > slow.position
            page = await log.read_all()
            assert ids_of(page.events) == ["1"], "a reader passed a position that may still be filled"
            assert page.position < slow.position
            assert page.head >= quick.position
            assert page.held_s is not None
            assert page.held_s >= 0
            # A stream of its own is read at once.
            assert await read_ids(log, "quick") == ["3"]
            await opened.commit()
        found = await walk(log)
        assert ids_of(found) == ["1", "2", "3"]
        assert_log(found)

    @log_scene
    async def test_a_trim_drops_nothing_that_a_slow_transaction_may_still_add(
        self, stage: Stage, log: EventLog
    ) -> None:
        if not self.writers_at_once:
            return
        await append(log, "a", "1")
        async with self.transaction(stage.backend) as opened:
            await append(self._within(stage, opened), "slow", "2")
            quick = await append(log, "quick", "3")
            assert await log.trim(quick.position + 1) == 1
            await opened.commit()
        assert ids_of(await walk(log, 10, (await log.head()).trimmed)) == ["2", "3"]

    @log_scene
    async def test_a_transaction_that_appends_nothing_holds_up_no_reader(self, stage: Stage, log: EventLog) -> None:
        if not self.writers_at_once:
            return
        async with self.transaction(stage.backend) as opened:
            # It writes to another log, and has a number as a transaction that writes.
            await append(opened.ports.log(stage.log("other").name), "a", "x")
            await append(log, "a", "1")
            page = await log.read_all()
            assert (ids_of(page.events), page.held_s) == (["1"], None)
            await opened.rollback()

    @log_scene
    async def test_writers_of_different_streams_never_wait_for_each_other(self, stage: Stage, log: EventLog) -> None:
        if not self.writers_at_once:
            return
        has_appended, has_ended = current().waiter(), current().waiter()

        async def stays_open() -> None:
            async with self.transaction(stage.backend) as opened:
                await append(self._within(stage, opened), "a", "1")
                has_appended.wake()
                assert await has_ended.wait(HEARD_WITHIN_S), "a writer waits for one of another stream"
                await opened.commit()

        async def appends() -> None:
            assert await has_appended.wait(HEARD_WITHIN_S)
            await append(log, "b", "2", expected=0)
            async with self.transaction(stage.backend) as opened:
                await append(self._within(stage, opened), "c", "3", expected=0)
                await opened.commit()
            has_ended.wake()

        await stage.together([stays_open, appends])
        assert ids_of(await walk(log)) == ["1", "2", "3"]

    @log_scene
    async def test_two_transactions_on_one_stream(self, stage: Stage, log: EventLog) -> None:
        """The second waits for the first, and then finds another version; versions stand in the order of positions."""
        has_appended = current().waiter()

        async def first() -> None:
            async with self.transaction(stage.backend) as opened:
                await append(self._within(stage, opened), "a", "1", expected=0)
                has_appended.wake()
                await current().sleep(0.05)
                await opened.commit()

        async def second() -> None:
            assert await has_appended.wait(HEARD_WITHIN_S)
            async with self.transaction(stage.backend) as opened:
                with pytest.raises(VersionConflict):
                    await append(self._within(stage, opened), "a", "x", expected=0)
                await append(self._within(stage, opened), "a", "2")
                await opened.commit()

        await stage.together([first, second])
        found = await walk(log)
        assert ids_of(found) == ["1", "2"]
        assert_log(found)

    @log_scene
    async def test_transactions_at_once_lose_nothing(self, stage: Stage, log: EventLog) -> None:
        async def writes(place: int) -> None:
            for number in range(4):
                async with self.transaction(stage.backend) as opened:
                    inside = self._within(stage, opened)
                    await append(inside, f"s{place}", f"{place}-{number}", f"{place}-{number}+")
                    await append(inside, "shared", f"{place}-{number}")
                    if number == 2:
                        await opened.rollback()
                    else:
                        await opened.commit()

        await stage.together([partial(writes, place) for place in range(5)])
        found = await walk(log)
        assert_log(found)
        for place in range(5):
            mine = ids_of(each for each in found if each.stream == f"s{place}")
            assert_same(mine, [f"{place}-{number}{part}" for number in (0, 1, 3) for part in ("", "+")])
        assert len(found) == 5 * 3 * 3
