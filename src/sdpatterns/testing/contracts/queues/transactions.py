"""The contract of `MessageQueue` on a transaction of the caller's: `backend.within(session).queue(name)`."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import ClassVar, Protocol

from sdpatterns.core.runtime import current
from sdpatterns.ports.backend import HasQueues
from sdpatterns.ports.queue import Claimed, Complete, MessageQueue, Requeue
from sdpatterns.testing.contracts.queues.races import HEARD_WITHIN_S
from sdpatterns.testing.contracts.queues.scenes import (
    LEASE_S,
    claim_each,
    claim_one,
    complete,
    message,
    publish,
    queue_scene,
    settle_one,
    take_all,
)
from sdpatterns.testing.contracts.stage import BackendContract, BackendUnderTest, Stage
from sdpatterns.testing.contracts.verdicts import assert_same

__all__ = ["OpenTransaction", "TransactionalQueueContract"]

_A_MOMENT_S = 0.2


class OpenTransaction(Protocol):
    """A transaction of the caller's that has begun, and the ports within it."""

    @property
    def ports(self) -> HasQueues:
        """What `backend.within(session)` gives."""
        ...

    async def commit(self) -> None:
        """Commit, and begin no other."""
        ...

    async def rollback(self) -> None:
        """Undo all of it."""
        ...


class TransactionalQueueContract(BackendContract):
    """What is published within a transaction is there after its commit, and never was where it was rolled back.

    A subclass says how to begin one:
    ```python
    @asynccontextmanager
    async def transaction(self, backend):
        async with AsyncSession(self.engine) as session:
            yield MyTransaction(session, backend.within(session))
    ```
    `writers_at_once` is False where a database lets one transaction write at a time, as SQLite does.
    """

    writers_at_once: ClassVar[bool] = True

    def transaction(self, backend: BackendUnderTest, /) -> AbstractAsyncContextManager[OpenTransaction]:
        """Begin a transaction; leaving the block without a commit undoes it."""
        raise NotImplementedError

    def _within(self, stage: Stage, opened: OpenTransaction) -> MessageQueue:
        return opened.ports.queue(stage.queue().name)

    @queue_scene()
    async def test_a_queue_says_that_it_can_be_used_within_a_transaction(
        self, stage: Stage, queue: MessageQueue
    ) -> None:
        assert "transaction" in queue.capabilities

    @queue_scene()
    async def test_a_message_is_there_after_the_commit_and_not_before(self, stage: Stage, queue: MessageQueue) -> None:
        async with self.transaction(stage.backend) as opened:
            assert list(await self._within(stage, opened).publish([message("a"), message("b", key="k")])) == [True] * 2
            if self.writers_at_once:
                assert await claim_each(queue, 10) == []
            assert sum((await queue.depth())[:4]) == 0
            await opened.commit()
        assert sorted(await take_all(queue)) == ["a", "b"]

    @queue_scene()
    async def test_a_rollback_leaves_nothing(self, stage: Stage, queue: MessageQueue) -> None:
        async with self.transaction(stage.backend) as opened:
            await self._within(stage, opened).publish([message("a"), message("b", key="k")])
            await opened.rollback()
        assert sum((await queue.depth())[:4]) == 0
        await publish(queue, "a", "b", key="k")
        assert await take_all(queue) == ["a", "b"]

    @queue_scene()
    async def test_a_transaction_that_is_left_without_a_commit_leaves_nothing(
        self, stage: Stage, queue: MessageQueue
    ) -> None:
        async with self.transaction(stage.backend) as opened:
            await self._within(stage, opened).publish([message("a")])
        assert sum((await queue.depth())[:4]) == 0

    @queue_scene("unique")
    async def test_ids_are_unique_within_a_transaction_too(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a")
        async with self.transaction(stage.backend) as opened:
            inside = self._within(stage, opened)
            assert list(await inside.publish([message("a"), message("b")])) == [False, True]
            assert list(await inside.publish([message("b"), message("c")])) == [False, True]
            await opened.commit()
        assert sorted(await take_all(queue)) == ["a", "b", "c"]

    @queue_scene("keyed order")
    async def test_messages_of_a_transaction_keep_their_order(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a", key="k")
        async with self.transaction(stage.backend) as opened:
            for name in "bcd":
                await self._within(stage, opened).publish([message(name, key="k")])
            await opened.commit()
        await publish(queue, "e", key="k")
        assert await take_all(queue) == ["a", "b", "c", "d", "e"]

    @queue_scene("fence")
    async def test_a_claim_may_be_settled_within_a_transaction(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a", "b", key="k")
        claimed = await claim_one(queue)
        async with self.transaction(stage.backend) as opened:
            assert await settle_one(self._within(stage, opened), Complete(claimed))
            await opened.rollback()
        assert list(await queue.extend([claimed], LEASE_S)) == [True]
        async with self.transaction(stage.backend) as opened:
            assert await settle_one(self._within(stage, opened), Complete(claimed))
            await opened.commit()
        assert (await _eventually(stage, queue)).id == "b"

    @queue_scene("fence")
    async def test_a_late_worker_learns_it_within_its_transaction(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a")
        late = await claim_one(queue, 30.0)
        stage.shift(31.0)
        quick = await claim_one(queue)
        async with self.transaction(stage.backend) as opened:
            inside = self._within(stage, opened)
            assert not await settle_one(inside, Complete(late))
            assert not await settle_one(inside, Requeue(late))
            await opened.commit()
        await complete(queue, quick)

    @queue_scene()
    async def test_a_commit_wakes_a_worker(self, stage: Stage, queue: MessageQueue) -> None:
        async with stage.signals.subscribe(queue.topic) as subscription:
            async with self.transaction(stage.backend) as opened:
                await self._within(stage, opened).publish([message("a")])
                while await subscription.wait(0.05):
                    continue
                await opened.commit()
            assert await subscription.wait(HEARD_WITHIN_S), "the commit announced nothing"

    @queue_scene()
    async def test_two_transactions_of_a_tenant_do_not_wait_for_each_other(
        self, stage: Stage, queue: MessageQueue
    ) -> None:
        await self._at_once(stage, [{"tenant": "t"}, {"tenant": "t"}])
        assert sorted(await take_all(queue)) == ["early", "late"]

    @queue_scene("keyed order")
    async def test_two_transactions_of_different_keys_do_not_wait_for_each_other(
        self, stage: Stage, queue: MessageQueue
    ) -> None:
        await self._at_once(stage, [{"key": "k1"}, {"key": "k2"}])
        assert sorted(await take_all(queue)) == ["early", "late"]

    async def _at_once(self, stage: Stage, words: list[dict[str, str]]) -> None:
        """One transaction stays open until another has published and committed."""
        if not self.writers_at_once:
            await publish(stage.queue(), "early", "late")
            return
        has_published, is_committed = current().waiter(), current().waiter()

        async def stays_open() -> None:
            async with self.transaction(stage.backend) as opened:
                await self._within(stage, opened).publish([message("early", **words[0])])
                has_published.wake()
                assert await is_committed.wait(HEARD_WITHIN_S), "the second transaction waits for the first"
                await opened.commit()

        async def passes() -> None:
            assert await has_published.wait(HEARD_WITHIN_S)
            async with self.transaction(stage.backend) as opened:
                await self._within(stage, opened).publish([message("late", **words[1])])
                await opened.commit()
            is_committed.wake()

        await stage.together([stays_open, passes])

    @queue_scene("keyed order")
    async def test_messages_of_a_key_come_in_the_order_of_the_commits(self, stage: Stage, queue: MessageQueue) -> None:
        if not self.writers_at_once:
            return
        has_published, is_committed = current().waiter(), current().waiter()
        order: list[str] = []
        taken: list[str] = []

        async def publishes_first_and_commits_last() -> None:
            async with self.transaction(stage.backend) as opened:
                await self._within(stage, opened).publish([message("early", key="k")])
                has_published.wake()
                # It may get through, or wait for this one to end.
                if await is_committed.wait(_A_MOMENT_S):
                    taken.extend(await claim_each(queue, 10))
                await opened.commit()
                order.append("early")

        async def publishes_second() -> None:
            assert await has_published.wait(HEARD_WITHIN_S)
            async with self.transaction(stage.backend) as opened:
                await self._within(stage, opened).publish([message("late", key="k")])
                await opened.commit()
                order.append("late")
            is_committed.wake()

        await stage.together([publishes_first_and_commits_last, publishes_second])
        stage.shift(2 * LEASE_S)
        first = await _eventually(stage, queue)
        assert await claim_each(queue, 10) == []
        await complete(queue, first)
        second = await _eventually(stage, queue)
        if taken:
            # A message that was handed out before the other was committed goes first, in both cases.
            order = [taken[0], *(name for name in order if name != taken[0])]
        assert_same([first.id, second.id], sorted(order, key=order.index))

    @queue_scene("keyed order")
    async def test_completing_does_not_wait_for_an_open_transaction_of_its_key(
        self, stage: Stage, queue: MessageQueue
    ) -> None:
        if not self.writers_at_once:
            return
        await publish(queue, "first", key="k")
        claimed = await claim_one(queue)
        has_published, is_complete = current().waiter(), current().waiter()

        async def stays_open() -> None:
            async with self.transaction(stage.backend) as opened:
                await self._within(stage, opened).publish([message("second", key="k")])
                has_published.wake()
                assert await is_complete.wait(HEARD_WITHIN_S), "a worker waits for a transaction of its key"
                await opened.commit()

        async def completes() -> None:
            assert await has_published.wait(HEARD_WITHIN_S)
            await complete(queue, claimed)
            assert await claim_each(queue, 10) == []
            is_complete.wake()

        await stage.together([stays_open, completes])
        assert (await _eventually(stage, queue)).id == "second"

    @queue_scene("keyed order")
    async def test_transactions_at_once_lose_nothing_and_keep_their_order(
        self, stage: Stage, queue: MessageQueue
    ) -> None:
        async def publishes(place: int) -> None:
            for number in range(4):
                async with self.transaction(stage.backend) as opened:
                    inside = self._within(stage, opened)
                    await inside.publish([message(f"{place}-{number}-{part}", key=f"k{place}") for part in "ab"])
                    await inside.publish([message(f"{place}-{number}-free")])
                    if number == 2:
                        await opened.rollback()
                    else:
                        await opened.commit()

        await stage.together([partial(publishes, place) for place in range(6)])
        by_key: dict[str | None, list[str]] = {}
        for _ in range(20):
            while claims := (await queue.claim(100, LEASE_S)).messages:
                for claimed in claims:
                    by_key.setdefault(claimed.key, []).append(claimed.id)
                await complete(queue, *claims)
            stage.shift(1.0)
        for place in range(6):
            assert_same(by_key[f"k{place}"], [f"{place}-{number}-{part}" for number in (0, 1, 3) for part in "ab"])
        assert len(by_key[None]) == 18


async def _eventually(stage: Stage, queue: MessageQueue) -> Claimed:
    """The next message of a key, which may be handed over a moment later."""
    for _ in range(20):
        messages = (await queue.claim(1, LEASE_S)).messages
        if messages:
            return messages[0]
        stage.shift(1.0)
    raise AssertionError("a message was stranded")
