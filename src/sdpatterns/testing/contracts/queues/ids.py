"""The contract of `MessageQueue`: an id is in the queue once."""

from __future__ import annotations

from functools import partial

from sdpatterns.ports.queue import Complete, MessageQueue, Park, Requeue
from sdpatterns.testing.contracts.queues.scenes import (
    LEASE_S,
    claim_each,
    claim_one,
    complete,
    message,
    numbered,
    publish,
    queue_scene,
    settle_one,
    skip_without,
    take_all,
)
from sdpatterns.testing.contracts.stage import BackendContract, Stage
from sdpatterns.testing.contracts.verdicts import assert_same

__all__ = ["QueueIds"]


async def _again(queue: MessageQueue, name: str = "a", **words: object) -> bool:
    [added] = await queue.publish([message(name, payload=b"second", **words)])
    return added


class QueueIds(BackendContract):
    """What happens to a second message of an id, and to messages that are withdrawn."""

    @queue_scene("unique")
    async def test_a_second_message_of_an_id_is_dropped_while_the_first_is_there(
        self, stage: Stage, queue: MessageQueue
    ) -> None:
        await publish(queue, "a")
        assert not await _again(queue)
        claimed = await claim_one(queue)
        assert claimed.payload == b"a"
        assert not await _again(queue)
        assert not await _again(queue, replace=True)
        assert await settle_one(queue, Requeue(claimed))
        assert not await _again(queue)
        claimed = await claim_one(queue)
        assert (claimed.payload, claimed.attempt) == (b"a", 2)
        await complete(queue, claimed)
        assert sum((await queue.depth())[:4]) == 0

    @queue_scene("unique")
    async def test_an_id_may_come_again_after_it_was_completed(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a")
        await complete(queue, await claim_one(queue))
        assert await _again(queue)
        claimed = await claim_one(queue)
        assert (claimed.payload, claimed.attempt) == (b"second", 1)

    @queue_scene("unique")
    async def test_a_publish_whose_reply_was_lost_may_be_repeated(self, stage: Stage, queue: MessageQueue) -> None:
        sent = [*numbered(20), *numbered(5, "k", key="k")]
        assert_same(await queue.publish(sent), [True] * 25)
        assert_same(await queue.publish(sent), [False] * 25)
        assert_same(await queue.publish([*sent[:10], message("new")]), [*[False] * 10, True])
        taken = await take_all(queue)
        assert len(taken) == 26
        assert [name for name in taken if name.startswith("k")] == [f"k{place}" for place in range(5)]

    @queue_scene("unique")
    async def test_one_call_with_an_id_twice(self, stage: Stage, queue: MessageQueue) -> None:
        added = await queue.publish([message("a", payload=b"1"), message("a", payload=b"2"), message("b")])
        assert list(added) == [True, False, True]
        replaced = await queue.publish([message("b", payload=b"3"), message("b", payload=b"4", replace=True)])
        assert list(replaced) == [False, True]
        claims = sorted((await queue.claim(10, LEASE_S)).messages)
        assert [(claimed.id, claimed.payload) for claimed in claims] == [("a", b"1"), ("b", b"4")]

    @queue_scene("unique")
    async def test_queues_have_ids_of_their_own(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a")
        await publish(stage.queue("other"), "a")

    @queue_scene("unique", "delay")
    async def test_a_message_may_take_the_place_of_one_that_waits(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a", delay_s=100.0, headers={"h": "1"})
        for _ in range(3):
            stage.shift(49.0)
            assert await _again(queue, replace=True, delay_s=100.0, tenant="t")
        assert (await queue.depth())[:4] == (0, 1, 0, 0)
        stage.shift(49.0)
        assert await claim_each(queue, 10) == []
        stage.shift(52.0)
        claimed = await claim_one(queue)
        assert (claimed.payload, claimed.tenant, dict(claimed.headers), claimed.attempt) == (b"second", "t", {}, 1)

    @queue_scene("unique")
    async def test_a_message_that_takes_a_place_starts_with_its_first_attempt(
        self, stage: Stage, queue: MessageQueue
    ) -> None:
        await publish(queue, "a")
        assert await settle_one(queue, Requeue(await claim_one(queue)))
        assert await _again(queue, replace=True)
        claimed = await claim_one(queue)
        assert (claimed.payload, claimed.attempt) == (b"second", 1)
        assert await claim_each(queue, 10) == []

    @queue_scene("unique", "keyed order")
    async def test_a_message_that_takes_a_place_stands_at_the_end_of_its_key(
        self, stage: Stage, queue: MessageQueue
    ) -> None:
        await publish(queue, "a", "b", "c", key="k")
        assert await _again(queue, "b", key="k", replace=True)
        assert await _again(queue, "a", key="k", replace=True)
        assert await take_all(queue) == ["c", "b", "a"]

    @queue_scene("unique", "keyed order")
    async def test_a_message_may_be_replaced_by_one_of_another_key(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a", "b", key="k")
        await publish(queue, "c", key="l")
        assert await _again(queue, "a", key="l", replace=True)
        assert sorted(await claim_each(queue, 10)) == ["b", "c"]
        assert (await queue.depth())[:4] == (0, 1, 2, 0)

    @queue_scene("unique", "fence")
    async def test_a_late_worker_does_not_touch_what_took_its_place(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a")
        late = await claim_one(queue, 30.0)
        stage.shift(31.0)
        # A store may still count the message as this worker's.
        if await _again(queue, replace=True):
            assert not await settle_one(queue, Complete(late))
            assert not any(await queue.extend([late], LEASE_S))
        claimed = await claim_one(queue)
        assert not await settle_one(queue, Park(late, "late"))
        await complete(queue, claimed)

    @queue_scene("unique")
    async def test_of_many_publishers_of_an_id_one_succeeds(self, stage: Stage, queue: MessageQueue) -> None:
        async def publishes(place: int) -> list[bool]:
            return list(await queue.publish([message(f"{number}", payload=f"{place}".encode()) for number in range(5)]))

        answers = await stage.together([partial(publishes, place) for place in range(16)])
        assert_same([sum(each) for each in zip(*answers, strict=True)], [1] * 5)
        for claimed in (await queue.claim(100, LEASE_S)).messages:
            assert answers[int(claimed.payload)][int(claimed.id)], "the queue holds what it said it had dropped"

    @queue_scene("unique")
    async def test_what_waits_may_be_withdrawn(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a", "b", "c")
        claimed = await claim_one(queue)
        left = [name for name in "abc" if name != claimed.id]
        answers = await queue.withdraw([left[0], claimed.id, "never published", left[0]])
        assert list(answers) == [True, False, False, False]
        assert list(await queue.withdraw([])) == []
        assert await claim_each(queue, 10) == [left[1]]
        await complete(queue, claimed)
        assert await _again(queue, left[0])

    @queue_scene("unique", "delay")
    async def test_a_delayed_message_may_be_withdrawn(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a", "b", delay_s=100.0)
        assert list(await queue.withdraw(["a"])) == [True]
        stage.shift(101.0)
        assert await claim_each(queue, 10) == ["b"]

    @queue_scene("unique", "keyed order")
    async def test_withdrawing_from_a_key_keeps_the_order_of_the_rest(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a", "b", "c", "d", "e", key="k")
        assert list(await queue.withdraw(["c", "a"])) == [True, True]
        assert (await queue.depth())[:4] == (1, 2, 0, 0)
        first = await claim_one(queue)
        assert first.id == "b"
        assert list(await queue.withdraw(["b", "d"])) == [False, True]
        await complete(queue, first)
        assert await take_all(queue) == ["e"]
        await publish(queue, "f", key="k")
        assert list(await queue.withdraw(["f"])) == [True]
        await publish(queue, "g", key="k")
        assert await claim_each(queue, 10) == ["g"]

    @queue_scene("unique")
    async def test_parked_messages_are_not_withdrawn_but_hold_their_id(self, stage: Stage, queue: MessageQueue) -> None:
        skip_without(queue, "redrive")
        await publish(queue, "a")
        assert await settle_one(queue, Park(await claim_one(queue), "broken"))
        assert list(await queue.withdraw(["a"])) == [False]
        assert not await _again(queue)
        assert (await queue.depth())[:4] == (0, 0, 0, 1)
        assert await _again(queue, replace=True)
        assert (await queue.depth())[:4] == (1, 0, 0, 0)
        claimed = await claim_one(queue)
        assert (claimed.payload, claimed.attempt) == (b"second", 1)
