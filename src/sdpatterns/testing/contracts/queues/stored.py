"""More of `MessageQueue`: queues of several clients, callers that are cancelled, and a bound."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from sdpatterns.errors import BackendFull
from sdpatterns.ports.queue import Complete, MessageQueue, Park, QueueSettings
from sdpatterns.testing.contracts.queues.races import HEARD_WITHIN_S
from sdpatterns.testing.contracts.queues.scenes import (
    LEASE_S,
    WorkRecord,
    claim_each,
    claim_one,
    complete,
    message,
    numbered,
    pause,
    publish,
    queue_scene,
    settle_one,
    skip_without,
    take_all,
    work,
)
from sdpatterns.testing.contracts.stage import BackendContract, Job, Stage
from sdpatterns.testing.contracts.verdicts import assert_same

__all__ = ["BoundedQueueContract", "CancelledQueueContract", "SharedQueueContract"]


class SharedQueueContract(BackendContract):
    """Of queues that several clients of one backend share."""

    @queue_scene()
    async def test_another_client_works_on_what_was_published(self, stage: Stage, queue: MessageQueue) -> None:
        other = stage.another()
        async with other.backend:
            theirs = other.queue()
            await publish(queue, "a")
            claimed = await claim_one(theirs)
            assert await claim_each(queue, 10) == []
            # A claim may be settled through any client.
            assert list(await queue.extend([claimed], LEASE_S)) == [True]
            assert await settle_one(queue, Complete(claimed))
            assert (await theirs.depth())[:4] == (0, 0, 0, 0)

    @queue_scene("fence")
    async def test_a_worker_of_another_client_that_finishes_late_changes_nothing(
        self, stage: Stage, queue: MessageQueue
    ) -> None:
        other = stage.another()
        async with other.backend:
            theirs = other.queue()
            await publish(queue, "a")
            late = await claim_one(theirs, 30.0)
            stage.shift(31.0)
            other.shift(31.0)
            quick = await claim_one(queue)
            assert quick.fence > late.fence
            assert not await settle_one(theirs, Complete(late))
            await complete(queue, quick)

    @queue_scene()
    async def test_a_worker_of_another_client_is_woken(self, stage: Stage, queue: MessageQueue) -> None:
        other = stage.another()
        async with other.backend, other.signals.subscribe(other.queue().topic) as subscription:
            for number in range(3):
                await publish(queue, f"{number}")
                assert await subscription.wait(HEARD_WITHIN_S)

    @queue_scene("keyed order")
    async def test_workers_of_several_clients_do_everything_once_and_in_order(
        self, stage: Stage, queue: MessageQueue
    ) -> None:
        other, keys, each = stage.another(), 5, 12
        async with other.backend:
            record = WorkRecord(2 * keys * each)

            async def publishes(on: Stage, name: str) -> None:
                for number in range(each):
                    await on.queue().publish(
                        [message(f"{name}{key}-{number:02}", key=f"{name}{key}") for key in range(keys)]
                    )

            workers: list[Job[None]] = [
                partial(work, on.queue(), on.signals, record, 4, between=pause) for on in (stage, other) * 3
            ]
            publishers: list[Job[None]] = [partial(publishes, stage, "a"), partial(publishes, other, "b")]
            await stage.together([*workers, *publishers])
            record.judge()
            for key in range(keys):
                for name in "ab":
                    wanted = [f"{name}{key}-{number:02}" for number in range(each)]
                    assert_same(record.by_key[f"{name}{key}"], wanted)

    @queue_scene()
    async def test_creating_again_keeps_what_is_there(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a")
        await stage.backend.create()
        assert await claim_each(queue, 10) == ["a"]


class CancelledQueueContract(BackendContract):
    """A caller may be cancelled at every await: each call happened wholly or not at all."""

    runtime = "asyncio"

    @queue_scene()
    async def test_a_cancelled_publish_adds_all_or_nothing(self, stage: Stage, queue: MessageQueue) -> None:
        for turns in range(12):
            task = asyncio.ensure_future(queue.publish(numbered(3, f"{turns}-")))
            await _cancelled_after(turns, task)
            await publish(queue, f"{turns}-last")
            taken = await take_all(queue)
            assert len(taken) in {1, 4}, f"{len(taken) - 1} of 3 messages were published"

    @queue_scene()
    async def test_what_a_cancelled_claim_took_comes_again(self, stage: Stage, queue: MessageQueue) -> None:
        for turns in range(12):
            await queue.publish(numbered(3, f"{turns}-"))
            task = asyncio.ensure_future(queue.claim(2, 30.0))
            await _cancelled_after(turns, task)
            stage.shift(31.0)
            assert_same(sorted(await take_all(queue)), [f"{turns}-{place}" for place in range(3)])

    @queue_scene("fence")
    async def test_a_cancelled_settle_happened_or_not(self, stage: Stage, queue: MessageQueue) -> None:
        for turns in range(12):
            await publish(queue, f"{turns}-a", f"{turns}-b", key="k")
            claimed = await claim_one(queue, 30.0)
            task = asyncio.ensure_future(queue.settle([Complete(claimed)]))
            await _cancelled_after(turns, task)
            await settle_one(queue, Complete(claimed))
            stage.shift(31.0)
            assert await take_all(queue) == [f"{turns}-b"]

    @queue_scene()
    async def test_cancelling_some_harms_no_other(self, stage: Stage, queue: MessageQueue) -> None:
        for turns in range(8):
            tasks = [asyncio.ensure_future(queue.publish([message(f"{turns}-{place}")])) for place in range(20)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks[::3]:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            failed = [end for end in ended if isinstance(end, Exception)]
            assert not failed, f"{len(failed)} callers failed, the first with {failed[0]!r}"
            taken = set(await take_all(queue))
            missing = [place for place in range(20) if place % 3 and f"{turns}-{place}" not in taken]
            assert not missing, f"{len(missing)} messages of callers that were not cancelled are missing"


async def _cancelled_after(turns: int, task: asyncio.Future[Any]) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class BoundedQueueContract(BackendContract):
    """Of queues that hold the messages in this process, and so bound their number."""

    @queue_scene()
    async def test_no_more_messages_than_the_bound(self, stage: Stage, queue: MessageQueue) -> None:
        small = stage.queue("small", QueueSettings(messages_max=5))
        await small.publish(numbered(4))
        with pytest.raises(BackendFull):
            await small.publish([message("a"), message("b")])
        assert (await small.depth()).due == 4
        await publish(small, "a")
        with pytest.raises(BackendFull):
            await publish(small, "b")
        claimed = await claim_one(small)
        with pytest.raises(BackendFull):
            await publish(small, "b")
        await complete(small, claimed)
        await publish(small, "b")

    @queue_scene("unique")
    async def test_a_repeated_publish_needs_no_room(self, stage: Stage, queue: MessageQueue) -> None:
        small = stage.queue("small", QueueSettings(messages_max=5))
        await small.publish(numbered(5))
        assert_same(await small.publish(numbered(5)), [False] * 5)
        assert_same(await small.publish(numbered(5, replace=True)), [True] * 5)
        assert (await small.depth()).due == 5

    @queue_scene("redrive")
    async def test_parked_messages_count_until_they_are_swept(self, stage: Stage, queue: MessageQueue) -> None:
        skip_without(queue, "fence")
        small = stage.queue("small", QueueSettings(messages_max=2, parked_keep_s=100.0))
        await publish(small, "a")
        assert await settle_one(small, Park(await claim_one(small), "broken"))
        await publish(small, "b")
        with pytest.raises(BackendFull):
            await publish(small, "c")
        stage.shift(101.0)
        await publish(small, "c")
