"""The contract of `MessageQueue`: leases that end, workers that come late, and how a claim ends."""

from __future__ import annotations

from typing import Any

from sdpatterns.ports.queue import Claimed, Complete, MessageQueue, Park, Requeue, Settlement
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
from sdpatterns.testing.contracts.stage import BackendContract, Stage

__all__ = ["QueueLeases"]

PATIENCE_S = 50.0
"""How far off a scene's store may be, because the machine is busy."""


def _endings(claimed: Claimed) -> list[Settlement]:
    return [Complete(claimed), Requeue(claimed), Requeue(claimed, counts=False), Requeue(claimed, payload=b"late")]


class QueueLeases(BackendContract):
    """A message that was not settled comes again, and who had it before changes nothing then."""

    @queue_scene()
    async def test_a_message_comes_again_when_its_lease_is_over(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a", headers={"h": "1"})
        seen = [await claim_one(queue, 30.0)]
        for _ in range(4):
            stage.shift(31.0)
            seen.append(await claim_one(queue, 30.0))
        assert [claimed.attempt for claimed in seen] == [1, 2, 3, 4, 5]
        assert {(claimed.id, claimed.payload, claimed.published_us) for claimed in seen} == {
            ("a", b"a", seen[0].published_us)
        }
        assert [dict(claimed.headers) for claimed in seen] == [{"h": "1"}] * 5

    @queue_scene("fence")
    async def test_the_fence_grows_with_each_claim(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a")
        fences = []
        for shift in (31.0, 31.0, 1000.0):
            fences.append((await claim_one(queue, 30.0)).fence)
            stage.shift(shift)
        for _ in range(3):
            claimed = await claim_one(queue, 30.0)
            fences.append(claimed.fence)
            assert await settle_one(queue, Requeue(claimed))
        assert fences == sorted(set(fences))

    @queue_scene("fence")
    async def test_the_fence_grows_though_the_clock_is_set_back(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a")
        fences = []
        for _ in range(3):
            claimed = await claim_one(queue)
            fences.append(claimed.fence)
            assert await settle_one(queue, Requeue(claimed))
            stage.shift(-50.0)
            # A store may wait until its clock is where it was.
            stage.shift(51.0 if not await _is_due(queue) else 0.0)
        assert fences == sorted(set(fences))

    @queue_scene("fence")
    async def test_an_id_that_comes_again_has_another_fence(self, stage: Stage, queue: MessageQueue) -> None:
        fences = []
        for number in range(3):
            await publish(queue, "a", payload=f"{number}".encode())
            claimed = await claim_one(queue)
            fences.append(claimed.fence)
            assert claimed.attempt == 1
            await complete(queue, claimed)
        assert fences == sorted(set(fences))

    @queue_scene("fence")
    async def test_a_worker_that_finishes_late_changes_nothing(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a")
        late = await claim_one(queue, 30.0)
        stage.shift(31.0)
        quick = await claim_one(queue)
        for settlement in [*_endings(late), Park(late, "late")]:
            assert not await settle_one(queue, settlement), type(settlement).__name__
            assert list(await queue.extend([late], 5 * LEASE_S)) == [False]
            assert (await queue.depth())[:4] == (0, 0, 1, 0)
        assert list(await queue.extend([quick], 30.0)) == [True]
        stage.shift(31.0)
        again = await claim_one(queue)
        assert (again.payload, again.attempt) == (b"a", 3)
        await complete(queue, again)

    @queue_scene("fence")
    async def test_a_late_worker_does_not_touch_the_next_message_of_its_id(
        self, stage: Stage, queue: MessageQueue
    ) -> None:
        await publish(queue, "a")
        late = await claim_one(queue, 30.0)
        stage.shift(31.0)
        await complete(queue, await claim_one(queue))
        await publish(queue, "a")
        for settlement in [*_endings(late), Park(late, "late")]:
            assert not await settle_one(queue, settlement)
        assert not any(await queue.extend([late], LEASE_S))
        claimed = await claim_one(queue)
        assert (claimed.payload, claimed.attempt) == (b"a", 1)
        assert not await settle_one(queue, Complete(late))
        await complete(queue, claimed)

    @queue_scene("fence")
    async def test_work_that_ends_after_its_lease_and_before_another_claim_is_not_done_again(
        self, stage: Stage, queue: MessageQueue
    ) -> None:
        await publish(queue, "a", "b", "c")
        first, second, third = (await queue.claim(3, 30.0)).messages
        stage.shift(31.0)
        # Looking at what is due meanwhile gives it to no other worker.
        await queue.claim(0, LEASE_S)
        assert (await queue.depth())[:4] == (3, 0, 0, 0)
        assert await settle_one(queue, Complete(first))
        assert list(await queue.extend([second], LEASE_S)) == [True]
        assert (await queue.depth())[:4] == (1, 0, 1, 0)
        assert await claim_each(queue, 10) == [third.id]

    @queue_scene("fence", "keyed order")
    async def test_work_on_a_key_that_ends_after_its_lease_lets_the_next_one_go(
        self, stage: Stage, queue: MessageQueue
    ) -> None:
        await publish(queue, "a", "b", key="k")
        late = await claim_one(queue, 30.0)
        stage.shift(31.0)
        assert await settle_one(queue, Complete(late))
        assert await claim_each(queue, 10) == ["b"]

    @queue_scene("fence")
    async def test_a_lease_that_is_extended_goes_on(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a", "b")
        first, other = (await queue.claim(2, 100.0)).messages
        for _ in range(4):
            stage.shift(PATIENCE_S)
            assert list(await queue.extend([first], 100.0)) == [True]
        assert await claim_each(queue, 10) == [other.id]
        await complete(queue, first)
        stage.shift(2 * LEASE_S)
        assert await claim_each(queue, 10) == [other.id]

    @queue_scene("fence")
    async def test_an_extended_lease_ends_too(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a")
        claimed = await claim_one(queue, 30.0)
        assert list(await queue.extend([claimed], 600.0)) == [True]
        stage.shift(500.0)
        assert await claim_each(queue, 10) == []
        stage.shift(101.0)
        assert await claim_each(queue, 10) == ["a"]

    @queue_scene("fence")
    async def test_extending_many_answers_in_their_order(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a", "b", "c", "d")
        claims = list((await queue.claim(4, LEASE_S)).messages)
        await complete(queue, claims[1])
        stranger = claims[2]._replace(fence=claims[2].fence + 1)
        unknown = claims[3]._replace(id="never published")
        answers = await queue.extend([claims[0], claims[1], stranger, claims[2], unknown, claims[3]], LEASE_S)
        assert list(answers) == [True, False, False, True, False, True]

    @queue_scene("fence")
    async def test_settling_many_in_several_ways_answers_in_their_order(
        self, stage: Stage, queue: MessageQueue
    ) -> None:
        await publish(queue, "a", "b", "c", "d")
        a, b, c, d = sorted((await queue.claim(4, LEASE_S)).messages)
        stranger = b._replace(fence=b.fence + 1)
        unknown = b._replace(id="never published")
        settlements: list[Settlement] = [
            Complete(stranger),
            Requeue(a),
            Complete(unknown),
            Complete(b),
            Complete(d),
            Requeue(stranger),
        ]
        assert list(await queue.settle(settlements)) == [False, True, False, True, True, False]
        assert (await queue.depth())[:4] == (1, 0, 1, 0)
        assert await claim_each(queue, 10) == ["a"]
        await complete(queue, c)

    @queue_scene("fence")
    async def test_completing_twice_harms_nothing(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a", "b")
        claimed = await claim_one(queue)
        await complete(queue, claimed)
        await settle_one(queue, Complete(claimed))
        assert not await settle_one(queue, Requeue(claimed))
        assert not await settle_one(queue, Park(claimed, "changed its mind"))
        await publish(queue, claimed.id)
        await settle_one(queue, Complete(claimed))
        assert sorted(await take_all(queue)) == ["a", "b"]

    @queue_scene("fence")
    async def test_a_claim_that_was_given_back_is_over(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a")
        claimed = await claim_one(queue)
        assert await settle_one(queue, Requeue(claimed))
        # A heartbeat that was under way, and a repeat because the reply was lost.
        assert not any(await queue.extend([claimed], LEASE_S))
        await settle_one(queue, Requeue(claimed))
        assert not await settle_one(queue, Complete(claimed))
        assert not await settle_one(queue, Park(claimed, "changed its mind"))
        assert (await claim_one(queue)).attempt == 2

    @queue_scene()
    async def test_a_message_that_is_given_back_comes_again(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a")
        for attempt in (1, 2, 3):
            claimed = await claim_one(queue)
            assert claimed.attempt == attempt
            assert await settle_one(queue, Requeue(claimed))
        assert (await queue.depth())[:4] == (1, 0, 0, 0)

    @queue_scene("fence")
    async def test_an_attempt_that_is_not_to_count_does_not(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a")
        fences = []
        for attempt, counts in ((1, False), (1, False), (1, True), (2, False), (2, True)):
            claimed = await claim_one(queue)
            assert claimed.attempt == attempt
            fences.append(claimed.fence)
            assert await settle_one(queue, Requeue(claimed, counts=counts))
            await settle_one(queue, Requeue(claimed, counts=counts))
        assert (await claim_one(queue)).attempt == 3
        assert fences == sorted(set(fences))

    @queue_scene()
    async def test_what_is_given_back_may_have_another_payload_and_headers(
        self, stage: Stage, queue: MessageQueue
    ) -> None:
        await publish(queue, "a", headers={"h": "1"})
        seen = []
        changes: list[dict[str, Any]] = [
            {}, {"payload": b"new"}, {"headers": {"h": "2"}}, {"payload": b"", "headers": {}}, {},
        ]  # fmt: skip
        for changed in changes:
            claimed = await claim_one(queue)
            seen.append((claimed.payload, dict(claimed.headers)))
            assert await settle_one(queue, Requeue(claimed, **changed))
        assert seen == [
            (b"a", {"h": "1"}), (b"a", {"h": "1"}), (b"new", {"h": "1"}), (b"new", {"h": "2"}), (b"", {}),
        ]  # fmt: skip

    @queue_scene("delay")
    async def test_what_is_given_back_for_later_waits(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a")
        claimed = await claim_one(queue)
        assert await settle_one(queue, Requeue(claimed, 200.0))
        assert (await queue.depth())[:4] == (0, 1, 0, 0)
        claims = await queue.claim(10, LEASE_S)
        assert not claims.messages
        assert claims.due_in_s is not None
        assert 0.0 < claims.due_in_s <= 200.0
        # A repeat because the reply was lost does not start the delay again.
        stage.shift(150.0)
        await settle_one(queue, Requeue(claimed, 200.0))
        stage.shift(51.0)
        assert await claim_each(queue, 10) == ["a"]

    @queue_scene()
    async def test_a_claim_says_when_the_lease_of_another_worker_ends(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a")
        await claim_one(queue, 200.0)
        due_in_s = (await queue.claim(10, LEASE_S)).due_in_s
        assert due_in_s is not None
        assert 0.0 < due_in_s <= 200.0

    @queue_scene()
    async def test_a_claim_says_where_more_is_due(self, stage: Stage, queue: MessageQueue) -> None:
        await queue.publish([message("a"), message("b")])
        assert (await queue.claim(1, LEASE_S)).due_in_s == 0.0


async def _is_due(queue: MessageQueue) -> bool:
    return (await queue.depth()).due > 0
