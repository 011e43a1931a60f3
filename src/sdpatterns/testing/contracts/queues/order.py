"""The contract of `MessageQueue`: one at a time for each key, tenants in turn, delays and ranks."""

from __future__ import annotations

import pytest

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
    take_all,
)
from sdpatterns.testing.contracts.stage import BackendContract, Stage
from sdpatterns.testing.contracts.values import ODD_KEYS
from sdpatterns.testing.contracts.verdicts import assert_same

__all__ = ["QueueOrder"]


class QueueOrder(BackendContract):
    """What is handed out next."""

    @queue_scene("keyed order")
    async def test_messages_of_a_key_come_one_at_a_time_and_in_order(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a", "b", key="k")
        await publish(queue, "c", key="k")
        for name in "abc":
            assert await claim_each(queue, 0) == []
            claimed = await claim_one(queue)
            assert claimed.id == name
            assert await claim_each(queue, 10) == []
            await complete(queue, claimed)
        assert sum((await queue.depth())[:4]) == 0

    @queue_scene("keyed order")
    async def test_other_keys_and_messages_without_one_go_on(self, stage: Stage, queue: MessageQueue) -> None:
        for key in ("k1", "k2", "", None):
            await publish(queue, f"{key}-1", f"{key}-2", key=key)
        first = await claim_each(queue, 10)
        assert sorted(first) == sorted(["k1-1", "k2-1", "-1", "None-1", "None-2"])
        assert (await queue.depth())[:4] == (0, 3, 5, 0)

    @queue_scene("keyed order")
    async def test_a_long_line_behind_one_key_hides_no_other(self, stage: Stage, queue: MessageQueue) -> None:
        await queue.publish(numbered(1_000, key="busy"))
        await publish(queue, "other", key="idle")
        await publish(queue, "free")
        assert sorted(await claim_each(queue, 3)) == ["free", "m0", "other"]
        assert await claim_each(queue, 10) == []

    @queue_scene("keyed order")
    async def test_keys_that_look_alike_are_different(self, stage: Stage, queue: MessageQueue) -> None:
        for turn in range(2):
            await queue.publish([message(f"{place}-{turn}", key=key) for place, key in enumerate(ODD_KEYS)])
        for turn in range(2):
            claims = (await queue.claim(100, LEASE_S)).messages
            assert_same(sorted(each.id for each in claims), sorted(f"{place}-{turn}" for place in range(len(ODD_KEYS))))
            await complete(queue, *claims)

    @queue_scene("keyed order")
    async def test_a_message_whose_lease_is_over_keeps_its_place(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a", "b", key="k")
        await claim_one(queue, 30.0)
        stage.shift(31.0)
        again = await claim_one(queue, 30.0)
        assert (again.id, again.attempt) == ("a", 2)
        assert await claim_each(queue, 10) == []

    @queue_scene("keyed order", "fence")
    async def test_a_late_worker_does_not_let_the_next_one_of_its_key_go(
        self, stage: Stage, queue: MessageQueue
    ) -> None:
        await publish(queue, "a", "b", key="k")
        late = await claim_one(queue, 30.0)
        stage.shift(31.0)
        quick = await claim_one(queue)
        assert not await settle_one(queue, Complete(late))
        assert await claim_each(queue, 10) == []
        await complete(queue, quick)
        assert await claim_each(queue, 10) == ["b"]

    @queue_scene("keyed order", "delay")
    async def test_a_message_that_is_given_back_keeps_its_place(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a", "b", key="k")
        assert await settle_one(queue, Requeue(await claim_one(queue), 100.0))
        assert await claim_each(queue, 10) == []
        stage.shift(101.0)
        claimed = await claim_one(queue)
        assert claimed.id == "a"
        await complete(queue, claimed)
        assert await claim_each(queue, 10) == ["b"]

    @queue_scene("keyed order", "delay")
    async def test_a_delayed_message_holds_up_those_behind_it(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a", key="k", delay_s=100.0)
        await publish(queue, "b", key="k")
        assert await claim_each(queue, 10) == []
        assert (await queue.depth())[:4] == (0, 2, 0, 0)
        stage.shift(101.0)
        assert await take_all(queue) == ["a", "b"]

    @queue_scene("keyed order", "delay")
    async def test_a_delay_may_pass_behind_another_message(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a", key="k")
        await publish(queue, "b", key="k", delay_s=100.0)
        await publish(queue, "c", key="k", delay_s=400.0)
        first = await claim_one(queue)
        stage.shift(101.0)
        await complete(queue, first)
        second = await claim_one(queue)
        assert second.id == "b"
        await complete(queue, second)
        assert await claim_each(queue, 10) == []
        stage.shift(300.0)
        assert await claim_each(queue, 10) == ["c"]

    @queue_scene("keyed order")
    async def test_a_rank_does_not_change_the_order_of_a_key(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a", key="k", rank_s=100.0)
        await publish(queue, "b", key="k", rank_s=-100.0)
        assert await take_all(queue) == ["a", "b"]

    @queue_scene("keyed order", "redrive")
    async def test_parking_lets_the_next_one_of_its_key_go(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a", "b", "c", key="k")
        assert await settle_one(queue, Park(await claim_one(queue), "broken"))
        claimed = await claim_one(queue)
        assert claimed.id == "b"
        assert await claim_each(queue, 10) == []
        await complete(queue, claimed)
        assert await claim_each(queue, 10) == ["c"]

    @queue_scene("keyed order")
    async def test_a_key_that_was_worked_off_begins_again(self, stage: Stage, queue: MessageQueue) -> None:
        for name in "abc":
            await publish(queue, name, key="k")
            await complete(queue, await claim_one(queue))
        await publish(queue, "d", "e", key="k")
        assert await claim_each(queue, 10) == ["d"]

    @queue_scene("keyed order")
    async def test_completing_many_keys_at_once_lets_the_next_of_each_go(
        self, stage: Stage, queue: MessageQueue
    ) -> None:
        for turn in range(4):
            await queue.publish([message(f"{turn}-{place}", key=f"k{place}") for place in range(30)])
        for turn in range(4):
            claims = (await queue.claim(100, LEASE_S)).messages
            assert_same(sorted(each.id for each in claims), sorted(f"{turn}-{place}" for place in range(30)))
            await complete(queue, *claims)

    @queue_scene("fair share")
    async def test_a_tenant_with_many_messages_holds_up_no_other(self, stage: Stage, queue: MessageQueue) -> None:
        await queue.publish(numbered(1_000, tenant="large"))
        await publish(queue, "one", tenant="small")
        assert "one" in await claim_each(queue, 10)

    @queue_scene("fair share")
    async def test_tenants_take_turns_where_one_message_is_claimed_at_a_time(
        self, stage: Stage, queue: MessageQueue
    ) -> None:
        tenants = [f"t{place}" for place in range(5)]
        for tenant in tenants:
            await queue.publish(numbered(40 if tenant == "t0" else 3, f"{tenant}-", tenant=tenant))
        served = [(await claim_one(queue)).tenant for _ in range(2 * len(tenants))]
        missing = set(tenants) - set(served)
        assert not missing, f"{len(missing)} of 5 tenants were not served in 10 claims of one message"

    @queue_scene("fair share")
    async def test_a_batch_is_shared_between_tenants(self, stage: Stage, queue: MessageQueue) -> None:
        for tenant, count in (("large", 200), ("middle", 30), ("small", 3)):
            await queue.publish(numbered(count, f"{tenant}-", tenant=tenant))
        batch = await claim_each(queue, 30)
        shares = [sum(name.startswith(tenant) for name in batch) for tenant in ("large", "middle", "small")]
        assert sum(shares) == 30
        assert shares[2] == 3
        assert shares[1] >= 10, f"30 messages were shared like this: {shares}"
        assert len(await take_all(queue)) == 203

    @queue_scene("delay")
    async def test_a_delayed_message_waits_for_its_time(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "later", delay_s=200.0)
        await publish(queue, "now")
        assert (await queue.depth())[:4] == (1, 1, 0, 0)
        assert await claim_each(queue, 10) == ["now"]
        stage.shift(140.0)
        assert await claim_each(queue, 10) == []
        stage.shift(61.0)
        assert await claim_each(queue, 10) == ["later"]

    @queue_scene("delay")
    async def test_a_claim_says_when_the_next_message_is_due(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "late", delay_s=5_000.0)
        await publish(queue, "early", delay_s=200.0)
        claims = await queue.claim(10, 10 * LEASE_S)
        assert not claims.messages
        assert claims.due_in_s is not None
        assert 140.0 <= claims.due_in_s <= 200.0

    @queue_scene("delay")
    async def test_delays_of_a_moment_and_of_years(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "moment", delay_s=0.000_4)
        await publish(queue, "years", delay_s=9 * 365 * 86_400.0)
        stage.shift(1.0)
        assert await claim_each(queue, 10) == ["moment"]
        stage.shift(8 * 365 * 86_400.0)
        assert await claim_each(queue, 10) == ["moment"]
        stage.shift(366 * 86_400.0)
        assert sorted(await claim_each(queue, 10)) == ["moment", "years"]

    @queue_scene()
    async def test_a_rank_is_a_head_start_in_seconds(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "low", rank_s=500.0)
        await publish(queue, "usual")
        await publish(queue, "urgent", rank_s=-500.0)
        assert await claim_each(queue, 3) == ["urgent", "usual", "low"]

    @queue_scene()
    async def test_a_low_rank_is_overtaken_for_a_bounded_time(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "low", rank_s=500.0)
        stage.shift(300.0)
        await publish(queue, "second")
        stage.shift(300.0)
        await publish(queue, "third")
        assert [(await claim_one(queue)).id for _ in range(3)] == ["second", "low", "third"]

    @queue_scene()
    async def test_a_rank_makes_nothing_due(self, stage: Stage, queue: MessageQueue) -> None:
        if "delay" not in queue.capabilities:
            pytest.skip("this queue offers no delay")
        await publish(queue, "later", delay_s=200.0, rank_s=-100_000.0)
        assert await claim_each(queue, 10) == []
        await publish(queue, "now", rank_s=100_000.0)
        assert await claim_each(queue, 10) == ["now"]
        stage.shift(201.0)
        assert await claim_each(queue, 10) == ["later"]
