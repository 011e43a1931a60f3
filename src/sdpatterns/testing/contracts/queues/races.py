"""The contract of `MessageQueue`: many workers and publishers at once, and who is woken."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from sdpatterns.core.runtime import current
from sdpatterns.ports.queue import Claimed, Complete, MessageQueue, Park, Requeue
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
    work,
)
from sdpatterns.testing.contracts.stage import BackendContract, Job, Stage
from sdpatterns.testing.contracts.verdicts import assert_same

__all__ = ["HEARD_WITHIN_S", "QueueRaces"]

HEARD_WITHIN_S = 60.0
_WORKERS = 8


class QueueRaces(BackendContract):
    """Eight workers lose nothing, repeat nothing and keep order, and sleep until they are woken."""

    @queue_scene()
    async def test_claims_at_once_never_share_a_message(self, stage: Stage, queue: MessageQueue) -> None:
        await queue.publish(numbered(200))

        async def claims() -> list[str]:
            taken: list[str] = []
            while claimed := await claim_each(queue, 7):
                taken += claimed
            return taken

        answers = list(itertools.chain(*await stage.together([claims] * _WORKERS)))
        # A claim may find nothing because others hold what is left, so the last few are looked for here.
        answers += await claim_each(queue, 200)
        assert_same(sorted(answers), sorted(each.id for each in numbered(200)))

    @queue_scene()
    async def test_workers_at_once_do_everything_once(self, stage: Stage, queue: MessageQueue) -> None:
        record = WorkRecord(300)
        await queue.publish(numbered(300))
        worker: Job[None] = partial(work, queue, stage.signals, record, 10, between=pause)
        await stage.together([worker] * _WORKERS)
        record.judge()
        assert sum((await queue.depth())[:4]) == 0

    @queue_scene("keyed order")
    async def test_workers_at_once_keep_the_order_of_each_key(self, stage: Stage, queue: MessageQueue) -> None:
        keys, each = 6, 20
        record = WorkRecord(keys * each)

        async def publishes(key: int) -> None:
            for turn in range(0, each, 4):
                await queue.publish([message(f"{key}-{number:02}", key=f"k{key}") for number in range(turn, turn + 4)])

        publishers: list[Job[None]] = [partial(publishes, key) for key in range(keys)]
        worker: Job[None] = partial(work, queue, stage.signals, record, 5, between=pause)
        # In threads eight of these run at once, so that workers come first and publishers fill in later.
        await stage.together([worker, worker, *publishers, *[worker] * _WORKERS])
        record.judge()
        for key in range(keys):
            assert_same(record.by_key[f"k{key}"], [f"{key}-{number:02}" for number in range(each)])

    @queue_scene("keyed order")
    async def test_two_workers_at_once_get_one_message_of_a_key(self, stage: Stage, queue: MessageQueue) -> None:
        for turn in range(20):
            await publish(queue, f"{turn}-a", f"{turn}-b", key=f"k{turn}")
            found = await stage.together([partial(queue.claim, 1, LEASE_S)] * 4)
            assert [each.id for claims in found for each in claims.messages] == [f"{turn}-a"]

    @queue_scene("keyed order")
    async def test_publishing_while_the_last_of_a_key_is_completed_strands_nothing(
        self, stage: Stage, queue: MessageQueue
    ) -> None:
        for turn in range(30):
            await publish(queue, f"{turn}-a", key="k")
            claimed = await _eventually(stage, queue)

            async def completes(claimed: Claimed = claimed) -> None:
                await complete(queue, claimed)

            async def publishes(turn: int = turn) -> None:
                await publish(queue, f"{turn}-b", key="k")

            both: list[Job[None]] = [completes, publishes] if turn % 2 else [publishes, completes]
            await stage.together(both)
            claimed = await _eventually(stage, queue)
            assert claimed.id == f"{turn}-b"
            await complete(queue, claimed)

    @queue_scene("fence")
    async def test_of_two_that_hold_one_claim_one_settles_it(self, stage: Stage, queue: MessageQueue) -> None:
        for turn in range(20):
            await publish(queue, f"{turn}")
            claimed = await claim_one(queue)

            async def ends(settlement: Any) -> bool:
                return await settle_one(queue, settlement)

            ways = [Requeue(claimed), Complete(claimed)] if turn % 2 else [Complete(claimed), Requeue(claimed)]
            answers = await stage.together([partial(ends, way) for way in ways])
            assert sum(answers) == 1, f"{sum(answers)} of two settlements of one claim were accepted"
            [is_completed] = [answer for answer, way in zip(answers, ways, strict=True) if isinstance(way, Complete)]
            left = await claim_each(queue, 10)
            assert left == ([] if is_completed else [f"{turn}"])
            if left:
                stage.shift(2 * LEASE_S)
                await complete(queue, await claim_one(queue))

    @queue_scene()
    async def test_a_publish_wakes_a_worker(self, stage: Stage, queue: MessageQueue) -> None:
        await _wakes(stage, queue, lambda: publish(queue, "a"))
        await _wakes(stage, queue, lambda: publish(queue, "b", key="k"))

    @queue_scene("delay")
    async def test_a_delayed_message_wakes_a_worker_that_knew_of_none(self, stage: Stage, queue: MessageQueue) -> None:
        await _wakes(stage, queue, lambda: publish(queue, "a", delay_s=100.0))

    @queue_scene()
    async def test_a_message_that_is_given_back_wakes_a_worker(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a")
        claimed = await claim_one(queue)
        await _wakes(stage, queue, lambda: settle_one(queue, Requeue(claimed)))

    @queue_scene("keyed order")
    async def test_the_next_message_of_a_key_wakes_a_worker(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a", "b", "c", "d", key="k")
        claimed = await claim_one(queue)
        await _wakes(stage, queue, lambda: complete(queue, claimed))
        if "redrive" in queue.capabilities:
            second = await claim_one(queue)
            await _wakes(stage, queue, lambda: settle_one(queue, Park(second, "broken")))
        if "unique" in queue.capabilities:
            first = "c" if "redrive" in queue.capabilities else "b"
            await _wakes(stage, queue, lambda: queue.withdraw([first]))

    @queue_scene("redrive")
    async def test_a_redriven_message_wakes_a_worker(self, stage: Stage, queue: MessageQueue) -> None:
        skip_without(queue, "redrive")
        await publish(queue, "a")
        assert await settle_one(queue, Park(await claim_one(queue), "broken"))
        await _wakes(stage, queue, lambda: queue.redrive(["a"]))

    @queue_scene()
    async def test_a_worker_that_waits_finds_what_woke_it(self, stage: Stage, queue: MessageQueue) -> None:
        ready, heard = current().waiter(), current().waiter()
        rounds = 10

        async def works() -> None:
            async with stage.signals.subscribe(queue.topic) as subscription:
                ready.wake()
                for number in range(rounds):
                    while not (messages := (await queue.claim(1, LEASE_S)).messages):
                        assert await subscription.wait(HEARD_WITHIN_S), f"message {number} was never announced"
                    await complete(queue, *messages)
                    heard.wake()

        async def publishes() -> None:
            assert await ready.wait(HEARD_WITHIN_S)
            for number in range(rounds):
                await publish(queue, f"{number}")
                assert await heard.wait(HEARD_WITHIN_S)

        await stage.together([works, publishes])


async def _wakes(stage: Stage, queue: MessageQueue, act: Callable[[], Awaitable[object]]) -> None:
    async with stage.signals.subscribe(queue.topic) as subscription:
        # What was announced before may still arrive.
        while await subscription.wait(0.05):
            continue
        await act()
        assert await subscription.wait(HEARD_WITHIN_S), "nothing was announced"


async def _eventually(stage: Stage, queue: MessageQueue) -> Claimed:
    """The one message that is due, or soon will be: a store may hand a key over a moment later."""
    for _ in range(20):
        messages = (await queue.claim(10, LEASE_S)).messages
        if messages:
            [claimed] = messages
            return claimed
        stage.shift(1.0)
    raise AssertionError("a message was stranded")
