"""Queues in trouble: their server is killed in the middle of their work, or their slot moves to another node."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.redis.messages.scripts import queue_keys
from sdpatterns.errors import BackendError
from sdpatterns.ports.queue import Complete, Message, MessageQueue
from sdpatterns.testing.contracts.stage import RuntimeName, run
from sdpatterns.testing.servers import valkey_cluster as fresh_cluster
from sdpatterns.testing.valkey import valkey_process
from tests.backends.redis.queue_keys import faults_of
from tests.backends.redis.test_cluster import Nodes

LEASE_S = 60.0


class Work:
    """Publishers and workers of one queue, and what the server has answered them."""

    def __init__(self, queue: MessageQueue) -> None:
        self.queue = queue
        self.published: set[str] = set()
        self.tried: set[str] = set()
        self.ended: set[str] = set()
        self.again: list[str] = []
        self.stop = False

    async def publish(self, publisher: int) -> None:
        number = 0
        while not self.stop:
            number += 1
            names = [f"{publisher}-{number}-{place}" for place in range(3)]
            keys = [None, f"{publisher}", f"{publisher}"]
            batch = [Message(id=name, payload=b"x", key=key) for name, key in zip(names, keys, strict=True)]
            with contextlib.suppress(BackendError):
                await self.queue.publish(batch)
                self.published.update(names)
            await asyncio.sleep(0)

    async def work(self) -> None:
        while not self.stop:
            with contextlib.suppress(BackendError):
                await self.take()
            await asyncio.sleep(0)

    async def take(self) -> int:
        claimed = (await self.queue.claim(4, LEASE_S)).messages
        self.again += [each.id for each in claimed if each.id in self.ended]
        self.tried.update(each.id for each in claimed)
        answers = await self.queue.settle([Complete(each) for each in claimed])
        self.ended.update(each.id for each, is_mine in zip(claimed, answers, strict=True) if is_mine)
        return len(claimed)

    async def until(self, published: int) -> None:
        target = len(self.published) + published
        while len(self.published) < target:  # noqa: ASYNC110 - no event tells of a count
            await asyncio.sleep(0)


@pytest.mark.unmeasured
def test_a_server_that_is_killed_loses_nothing_that_it_answered() -> None:
    async def play(url: str, process: Any) -> None:
        async with RedisBackend.from_url(url) as backend:
            work = Work(backend.queue("killed"))
            tasks = [asyncio.create_task(task) for task in (work.publish(0), work.publish(1), work.work(), work.work())]
            for _ in range(3):
                await work.until(60)
                await asyncio.to_thread(process.kill)
                await asyncio.to_thread(process.start)
            await work.until(30)
            work.stop = True
            await asyncio.gather(*tasks)
            with redis.Redis(port=process.port) as client:
                assert faults_of(client, "killed") == []
            # What was claimed by calls whose replies were lost comes when the leases are over.
            for _ in range(2):
                backend.shift(LEASE_S + 1)
                while await work.take():
                    pass
            assert work.again == []
            # One whose completion was not answered may be gone.
            assert work.published - work.tried == set()
            assert sum((await work.queue.depth())[:4]) == 0

    with valkey_process(durable=True) as process:
        asyncio.run(play(f"redis://127.0.0.1:{process.port}", process))


@pytest.fixture
def moving() -> Iterator[tuple[str, Nodes]]:
    """A cluster of this test's own, since its slots are moved about."""
    with fresh_cluster() as url:
        nodes = Nodes(url)
        yield url, nodes
        nodes.close()


def _move_keys(nodes: Nodes, slot: int, source: int, to: int) -> None:
    port = nodes.clients[to].connection_pool.connection_kwargs["port"]
    while keys := nodes.clients[source].execute_command("CLUSTER GETKEYSINSLOT", slot, 10):
        for key in keys:
            nodes.clients[source].execute_command("MIGRATE", "127.0.0.1", port, key, 0, 5000)


@pytest.mark.unmeasured
@pytest.mark.parametrize("runtime", ["asyncio", "blocking"])
def test_a_queue_whose_slot_moves_is_followed(moving: tuple[str, Nodes], runtime: RuntimeName) -> None:
    url, nodes = moving
    keys = queue_keys("sdp", "moves")
    slot = key_slot(keys[0])

    async def play() -> None:
        async with RedisBackend.from_url(url, cluster=True, blocking=runtime == "blocking") as backend:
            queue = backend.queue("moves")
            await queue.publish([Message(id=f"{number}", payload=b"x", key="k") for number in range(3)])
            for number in range(3):
                source = nodes.owner(slot)
                to = (source + 1) % 3
                [claimed] = (await queue.claim(5, LEASE_S)).messages
                assert claimed.id == f"{number}"
                nodes.begin_to_give(slot, source, to)
                _move_keys(nodes, slot, source, to)
                nodes.give(slot, to)
                assert await queue.settle([Complete(claimed)]) == [True]
                with redis.Redis(port=nodes.clients[to].connection_pool.connection_kwargs["port"]) as client:
                    assert faults_of(client, "moves") == []

    run(runtime, play)


@pytest.mark.unmeasured
def test_a_call_waits_for_a_queue_that_is_on_its_way(moving: tuple[str, Nodes]) -> None:
    url, nodes = moving
    slot = key_slot(queue_keys("sdp", "moves")[0])

    async def play() -> None:
        async with RedisBackend.from_url(url, cluster=True) as backend:
            queue = backend.queue("moves")
            await queue.publish([Message(id="a", payload=b"x", key="k")])
            source = nodes.owner(slot)
            to = (source + 1) % 3
            nodes.begin_to_give(slot, source, to)
            # Some of its keys are here, and the others would be over there: nothing of the call may happen.
            claim = asyncio.ensure_future(queue.claim(1, LEASE_S))
            await asyncio.sleep(0.02)
            assert not claim.done()
            _move_keys(nodes, slot, source, to)
            nodes.give(slot, to)
            assert [each.id for each in (await claim).messages] == ["a"]

    asyncio.run(play())
