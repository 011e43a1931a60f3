"""The contract of `MessageQueue`: publish, claim, complete."""

from __future__ import annotations

from functools import partial
from typing import get_args

import pytest

from sdpatterns.core.runtime import current
from sdpatterns.ports.queue import Capability, Complete, Message, MessageQueue, QueueSettings, Requeue
from sdpatterns.testing.contracts.queues.scenes import (
    LEASE_S,
    claim_each,
    claim_one,
    complete,
    message,
    numbered,
    payloads_of,
    publish,
    queue_scene,
    settle_one,
    take_all,
)
from sdpatterns.testing.contracts.stage import BackendContract, Stage, built, opened, run
from sdpatterns.testing.contracts.steps import Time
from sdpatterns.testing.contracts.values import ODD_KEYS
from sdpatterns.testing.contracts.verdicts import assert_same

__all__ = ["QueueVerbs"]

ODD_HEADERS = {"": "", " ": "\n", "a\x00b": "\x00", "ключ": "🔑", '"': "\\", "{}": "%", "a": "x" * 8_000, "A": "'"}
ODD_PAYLOADS = [b"", b" \n", b"\x00", b"|:{}%", b"nil", b"\xff" * 70_000, bytes(range(256)), "ключ".encode()]
ODD_NAMES = ["a/b", "a%2Fb", "{a}", "a}b{", "a:b", "a|b", "*", "'", '"', "\\", "ключ", "🔑", "A", "q" * 150]


class QueueVerbs(BackendContract):
    """A published message is handed out once while its lease runs, as it went in."""

    @queue_scene()
    async def test_it_says_what_it_is(self, stage: Stage, queue: MessageQueue) -> None:
        assert queue.runtime is None or queue.runtime is current()
        assert queue.name.endswith("jobs")
        unknown = queue.capabilities - set(get_args(Capability))
        assert not unknown, f"a capability that the port does not know: {min(unknown)}"

    @queue_scene()
    async def test_an_empty_queue_has_nothing_to_claim(self, stage: Stage, queue: MessageQueue) -> None:
        claims = await queue.claim(10, LEASE_S)
        assert (list(claims.messages), claims.due_in_s) == ([], None)

    @queue_scene()
    async def test_calls_about_nothing_change_nothing(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a")
        assert list(await queue.publish([])) == []
        assert list(await queue.extend([], LEASE_S)) == []
        assert list(await queue.settle([])) == []
        assert await claim_each(queue, 0) == []
        assert await claim_each(queue, 10) == ["a"]

    @queue_scene()
    async def test_a_message_comes_out_as_it_went_in(self, stage: Stage, queue: MessageQueue) -> None:
        sent = Message(
            id="a", payload=b"\x00\xff", key="k", tenant="t", headers={"traceparent": "00-1", "name": "ключ"}
        )
        before_us = await stage.counters().transact("clock", Time())
        assert list(await queue.publish([sent])) == [True]
        got = await claim_one(queue, 30.0)
        after_us = await stage.counters().transact("clock", Time())
        assert (got.id, got.payload, got.key, got.tenant, got.attempt) == ("a", b"\x00\xff", "k", "t", 1)
        assert dict(got.headers) == sent.headers
        # Clocks of a store may disagree by a little where they are read in different places.
        assert before_us - 1_000_000 <= got.published_us <= after_us + 1_000_000
        assert before_us + 29_000_000 <= got.leased_until_us <= after_us + 31_000_000
        assert got.fence > 0

    @queue_scene()
    async def test_a_message_is_not_handed_out_again_while_its_lease_runs(
        self, stage: Stage, queue: MessageQueue
    ) -> None:
        await publish(queue, "a", "b")
        first = await claim_each(queue, 1, 60.0)
        assert len(first) == 1
        stage.shift(30.0)
        second = await claim_each(queue, 10, 60.0)
        assert sorted(first + second) == ["a", "b"]
        assert await claim_each(queue, 10) == []

    @queue_scene()
    async def test_a_claim_gives_no_more_than_it_was_asked_for(self, stage: Stage, queue: MessageQueue) -> None:
        await queue.publish(numbered(30))
        seen: list[str] = []
        for n in (1, 7, 2, 20):
            claimed = await claim_each(queue, n)
            assert len(claimed) == n
            seen += claimed
        assert sorted(seen) == sorted(each.id for each in numbered(30))

    @queue_scene()
    async def test_a_claim_may_ask_for_more_than_there_is(self, stage: Stage, queue: MessageQueue) -> None:
        for start in range(3):
            await queue.publish(numbered(200, f"{start}-"))
        seen: list[str] = []
        while claimed := await claim_each(queue, 10_000):
            seen += claimed
        assert_same(sorted(seen), sorted(each.id for start in range(3) for each in numbered(200, f"{start}-")))

    @queue_scene()
    async def test_what_is_complete_is_gone(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a", "b")
        claims = await queue.claim(2, 60.0)
        await complete(queue, *claims.messages)
        stage.shift(120.0)
        assert await claim_each(queue, 10) == []
        assert sum((await queue.depth())[:4]) == 0

    @queue_scene()
    async def test_what_has_been_due_for_longer_comes_first(self, stage: Stage, queue: MessageQueue) -> None:
        for number in range(6):
            await publish(queue, f"m{number}")
            stage.shift(1.0)
        assert await claim_each(queue, 2) == ["m0", "m1"]
        assert await claim_each(queue, 10) == ["m2", "m3", "m4", "m5"]

    @queue_scene()
    async def test_any_bytes_are_a_payload(self, stage: Stage, queue: MessageQueue) -> None:
        sent = [Message(id=f"{place}", payload=payload) for place, payload in enumerate(ODD_PAYLOADS)]
        assert_same(await queue.publish(sent), [True] * len(sent))
        got = sorted((await queue.claim(100, LEASE_S)).messages, key=lambda claimed: int(claimed.id))
        assert_same(payloads_of(got), ODD_PAYLOADS)

    @queue_scene()
    async def test_a_payload_may_be_as_large_as_was_said(self, stage: Stage, queue: MessageQueue) -> None:
        most = QueueSettings().payload_bytes_max
        await publish(queue, "full", payload=b"x" * most)
        claimed = await claim_one(queue)
        assert claimed.payload == b"x" * most
        await complete(queue, claimed)

    @queue_scene()
    async def test_a_payload_that_is_too_large_is_refused_with_all_of_its_call(
        self, stage: Stage, queue: MessageQueue
    ) -> None:
        small = stage.queue("small", QueueSettings(payload_bytes_max=10))
        with pytest.raises(ValueError, match="payload"):
            await small.publish([message("a"), message("b", payload=b"x" * 11), message("c")])
        assert await claim_each(small, 10) == []
        await publish(small, "d", payload=b"x" * 10)
        claimed = await claim_one(small)
        with pytest.raises(ValueError, match="payload"):
            await small.settle([Requeue(claimed, payload=b"x" * 11)])
        assert (await small.depth()).leased == 1
        assert await settle_one(small, Complete(claimed))

    @queue_scene()
    async def test_any_text_of_up_to_1024_bytes_is_an_id(self, stage: Stage, queue: MessageQueue) -> None:
        sent = [message(key, payload=f"{place}".encode()) for place, key in enumerate(ODD_KEYS)]
        assert_same(await queue.publish(sent), [True] * len(sent))
        claims = (await queue.claim(100, LEASE_S)).messages
        found = {claimed.id: claimed.payload for claimed in claims}
        assert_same([found.get(each.id) for each in sent], [each.payload for each in sent])
        assert_same(await queue.extend(claims, LEASE_S), [True] * len(claims))
        await complete(queue, *claims)
        assert sum((await queue.depth())[:4]) == 0

    @queue_scene()
    async def test_any_text_is_a_key_and_a_tenant(self, stage: Stage, queue: MessageQueue) -> None:
        keys: list[str | None] = [None, *ODD_KEYS]
        sent = [message(f"{place}", key=key, tenant=key or "") for place, key in enumerate(keys)]
        assert_same(await queue.publish(sent), [True] * len(sent))
        seen: dict[str, tuple[str | None, str]] = {}
        while claims := (await queue.claim(100, LEASE_S)).messages:
            seen |= {claimed.id: (claimed.key, claimed.tenant) for claimed in claims}
            await complete(queue, *claims)
        assert_same([seen.get(each.id) for each in sent], [(each.key, each.tenant) for each in sent])

    @queue_scene()
    async def test_any_text_is_a_header(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a", headers=ODD_HEADERS)
        await publish(queue, "b")
        claims = sorted((await queue.claim(10, LEASE_S)).messages)
        assert_same([dict(claimed.headers) for claimed in claims], [ODD_HEADERS, {}])
        assert await settle_one(queue, Requeue(claims[1], headers=ODD_HEADERS))
        assert_same([dict((await claim_one(queue)).headers)], [ODD_HEADERS])

    @queue_scene()
    async def test_a_claim_that_no_queue_can_make_is_refused(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a")
        for n, lease_s in ((-1, 1.0), (1, 0.0), (1, -1.0), (1, float("nan")), (1, float("inf"))):
            with pytest.raises(ValueError, match=r"n must be|lease_s must be"):
                await queue.claim(n, lease_s)
        claimed = await claim_one(queue)
        with pytest.raises(ValueError, match="lease_s must be"):
            await queue.extend([claimed], 0.0)
        with pytest.raises(ValueError, match="after_s must be"):
            await queue.settle([Complete(claimed), Requeue(claimed, -1.0)])
        assert await settle_one(queue, Complete(claimed))

    @queue_scene()
    async def test_different_queues_share_nothing(self, stage: Stage, queue: MessageQueue) -> None:
        for place, name in enumerate(ODD_NAMES):
            await publish(stage.queue(name), "a", payload=f"{place}".encode(), key="k")
        for place, name in enumerate(ODD_NAMES):
            claimed = await claim_one(stage.queue(name))
            assert claimed.payload == f"{place}".encode(), name
        assert sum((await queue.depth())[:4]) == 0

    @queue_scene()
    async def test_claims_at_once_from_several_queues_share_nothing(self, stage: Stage, queue: MessageQueue) -> None:
        queues = [stage.queue(f"q{place}") for place in range(8)]
        for place, each in enumerate(queues):
            await each.publish(numbered(20, f"{place}-"))
        taken = await stage.together([partial(take_all, each, 3) for each in queues])
        for place, names in enumerate(taken):
            assert_same(sorted(names), sorted(each.id for each in numbered(20, f"{place}-")))

    @queue_scene()
    async def test_the_same_name_is_the_same_queue(self, stage: Stage, queue: MessageQueue) -> None:
        await publish(queue, "a")
        claimed = await claim_one(stage.queue())
        assert await settle_one(queue, Complete(claimed))

    @queue_scene()
    async def test_the_depth_agrees_with_what_is_there(self, stage: Stage, queue: MessageQueue) -> None:
        assert (await queue.depth())[:4] == (0, 0, 0, 0)
        await publish(queue, "a", "b", "c")
        assert (await queue.depth())[:4] == (3, 0, 0, 0)
        claimed = await claim_one(queue, 30.0)
        assert (await queue.depth())[:4] == (2, 0, 1, 0)
        stage.shift(50.0)
        assert (await queue.depth())[:4] == (3, 0, 0, 0)
        assert claimed.id in await claim_each(queue, 3)
        assert (await queue.depth())[:4] == (0, 0, 3, 0)

    @queue_scene()
    async def test_the_lag_is_how_long_the_first_one_has_been_due(self, stage: Stage, queue: MessageQueue) -> None:
        assert (await queue.depth()).lag_s == 0.0
        await publish(queue, "a")
        stage.shift(100.0)
        await publish(queue, "b")
        assert 99.0 <= (await queue.depth()).lag_s <= 160.0
        await complete(queue, await claim_one(queue))
        assert 0.0 <= (await queue.depth()).lag_s <= 60.0

    def test_it_can_be_opened_again_after_it_was_closed(self) -> None:
        stage = built(self)
        queue = stage.queue()

        async def play(on: Stage, times: int) -> None:
            await publish(queue, f"{times}")
            assert await take_all(on.queue()) == [f"{times}"]

        for times in range(3):
            run(self.runtime, partial(opened, stage, partial(play, times=times)))
