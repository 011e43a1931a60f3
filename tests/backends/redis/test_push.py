"""A message that is pushed to a worker without work: what it gets, what it must not get, what is lost on the way."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis

from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.redis.credit import RedisCredit
from sdpatterns.backends.redis.messages.scripts import queue_keys
from sdpatterns.backends.redis.queue import RedisQueue
from sdpatterns.errors import BackendFull
from sdpatterns.messaging.jobs import Jobs, Worker
from sdpatterns.ports.push import Pushed, PushQueue
from sdpatterns.ports.queue import Claimed, Complete, Message, Requeue
from sdpatterns.testing.valkey import valkey_process
from tests.backends.everywhere import unique
from tests.backends.redis.queue_keys import faults_of

pytestmark = pytest.mark.anyio

LEASE_S = 5.0


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as client:
        yield client


class Idle:
    """A worker without work, and what it is woken for."""

    def __init__(self, queue: RedisQueue) -> None:
        self.queue = queue
        self.woken = asyncio.Event()
        found = queue.credit(self.woken.set)
        assert isinstance(found, RedisCredit)
        self.credit = found

    async def claims_nothing(self, lease_s: float = LEASE_S) -> None:
        claims = await self.credit.claim(10, lease_s)
        assert not claims.messages

    async def gets(self) -> Pushed:
        await asyncio.wait_for(self.woken.wait(), 5)
        self.woken.clear()
        [pushed] = self.credit.pushed()
        return pushed

    async def gets_nothing(self) -> None:
        await asyncio.sleep(0.05)
        assert not self.woken.is_set()
        assert not self.credit.pushed()


@asynccontextmanager
async def backend_of(url: str, **more: Any) -> AsyncIterator[RedisBackend]:
    async with RedisBackend.from_url(url, warns_of_loss=False, **more) as backend:
        yield backend


def message(name: str, **more: Any) -> Message:
    return Message(id=name, payload=b"x", **more)


def credits_in(client: redis.Redis, name: str) -> list[bytes]:
    found: Any = client.zrange(queue_keys("sdp", name)[-1], 0, -1)
    return list(found)


async def test_a_message_is_pushed_as_it_would_be_claimed(client: redis.Redis, valkey_url: str) -> None:
    async with backend_of(valkey_url) as backend:
        name = unique("push")
        queue = backend.queue(name)
        assert isinstance(queue, PushQueue)
        idle = Idle(queue)
        await idle.claims_nothing()
        sent = Message(id="a", payload=b"\x00\xff|x", headers={"n": "1"}, tenant="t\0", rank_s=3.0)
        assert await queue.publish([sent]) == [True]
        claimed, until_s = await idle.gets()
        assert claimed[:5] == ("a", b"\x00\xff|x", {"n": "1"}, None, "t\0")
        assert claimed.attempt == 1
        assert 0 < until_s - asyncio.get_running_loop().time() <= LEASE_S
        assert claimed.leased_until_us - claimed.published_us == pytest.approx(LEASE_S * 1e6, abs=10)
        depth = await queue.depth()
        assert (depth.due, depth.leased) == (0, 1)
        assert faults_of(client, name) == []
        assert (await queue.claim(10, LEASE_S)).messages == []
        assert await queue.extend([claimed], LEASE_S) == [True]
        assert await queue.publish([sent]) == [False]
        assert await queue.settle([Complete(claimed)]) == [True]
        assert (await queue.depth()).leased == 0
        await idle.credit.close()
        assert client.keys(f"sdp:{{%queue/{name}}}*") == [queue_keys("sdp", name)[0]]


async def test_one_message_for_one_credit(client: redis.Redis, valkey_url: str) -> None:
    async with backend_of(valkey_url) as backend:
        name = unique("push")
        queue = backend.queue(name)
        idle = Idle(queue)
        await idle.claims_nothing()
        for each in "abc":
            await queue.publish([message(each)])
        assert (await idle.gets()).claimed.id == "a"
        await idle.gets_nothing()
        # It comes again, says that it has got one, and gets what waited meanwhile.
        claims = await idle.credit.claim(10, LEASE_S)
        assert [it.id for it in claims.messages] == ["b", "c"]
        assert credits_in(client, name) == []
        await queue.publish([message("d")])
        await idle.gets_nothing()
        assert faults_of(client, name) == []
        await idle.credit.close()


async def test_the_one_that_waited_longest_gets_it(valkey_url: str) -> None:
    async with backend_of(valkey_url) as backend, backend_of(valkey_url) as other:
        name = unique("push")
        first, second = Idle(backend.queue(name)), Idle(other.queue(name))
        await first.claims_nothing()
        await second.claims_nothing()
        for place, idle in enumerate((first, second, first)):
            await backend.queue(name).publish([message(f"m{place}")])
            assert (await idle.gets()).claimed.id == f"m{place}"
            await idle.claims_nothing()
        for idle in (first, second):
            await idle.credit.close()


@pytest.mark.parametrize(
    "sent",
    [
        [message("a", key="k")],
        [message("a", delay_s=0.01)],
        [message("a", replace=True)],
        [message("a"), message("b")],
    ],
    ids=["key", "delay", "replace", "several"],
)
async def test_what_is_not_pushed_is_notified(sent: list[Message], client: redis.Redis, valkey_url: str) -> None:
    async with backend_of(valkey_url) as backend:
        name = unique("push")
        queue = backend.queue(name)
        idle = Idle(queue)
        async with backend.signals.subscribe(queue.topic) as subscription:
            await idle.claims_nothing()
            await queue.publish(sent)
            assert await subscription.wait(5)
            await idle.gets_nothing()
            await asyncio.sleep(0.02)
            assert len((await idle.credit.claim(10, LEASE_S)).messages) == len(sent)
        assert faults_of(client, name) == []
        await idle.credit.close()


async def test_nothing_passes_a_message_that_is_ready(client: redis.Redis, valkey_url: str) -> None:
    async with backend_of(valkey_url) as backend:
        name = unique("push")
        queue, idle = backend.queue(name), Idle(backend.queue(name))
        await idle.claims_nothing()
        await queue.publish([message("a"), message("b")])
        await queue.publish([message("c")])
        await idle.gets_nothing()
        assert [it.id for it in (await idle.credit.claim(10, LEASE_S)).messages] == ["a", "b", "c"]
        assert faults_of(client, name) == []
        await idle.credit.close()


async def test_a_worker_that_is_gone_gets_nothing_and_loses_nothing(client: redis.Redis, valkey_url: str) -> None:
    name = unique("push")
    async with backend_of(valkey_url) as dead:
        await Idle(dead.queue(name)).claims_nothing()
    # Its connections are closed, and its credit is left.
    assert len(credits_in(client, name)) == 1
    async with backend_of(valkey_url) as backend:
        queue = backend.queue(name)
        async with backend.signals.subscribe(queue.topic) as subscription:
            await queue.publish([message("a")])
            assert await subscription.wait(5)
        assert credits_in(client, name) == []
        assert faults_of(client, name) == []
        assert [it.id for it in (await queue.claim(10, LEASE_S)).messages] == ["a"]


async def test_a_message_that_no_worker_took_is_due_when_its_lease_ends(valkey_url: str) -> None:
    async with backend_of(valkey_url) as backend:
        queue = backend.queue(unique("push"))
        idle = Idle(queue)
        await idle.claims_nothing(lease_s=0.1)
        await queue.publish([message("a")])
        await asyncio.wait_for(idle.woken.wait(), 5)
        await asyncio.sleep(0.15)
        # It looks too late: another worker may have it.
        assert not idle.credit.pushed()
        [again] = (await queue.claim(10, LEASE_S)).messages
        assert (again.id, again.attempt) == ("a", 2)
        await idle.credit.close()


async def test_a_later_holder_has_the_larger_fence(valkey_url: str) -> None:
    async with backend_of(valkey_url) as backend:
        queue = backend.queue(unique("push"))
        idle = Idle(queue)
        await idle.claims_nothing(lease_s=0.05)
        await queue.publish([message("a")])
        claimed, _ = await idle.gets()
        await asyncio.sleep(0.1)
        [later] = (await queue.claim(10, LEASE_S)).messages
        assert later.fence > claimed.fence
        assert await queue.settle([Complete(claimed)]) == [False]
        assert await queue.settle([Complete(later)]) == [True]
        await idle.credit.close()


class TestAMessageOnItsWay:
    """The answer to a claim comes before the message that was pushed for the credit of the claim before."""

    @asynccontextmanager
    async def held_back(self, idle: Idle) -> AsyncIterator[Callable[[], None]]:
        """Messages wait until the returned function is called."""
        topic = idle.credit._topic
        pushes, held = idle.credit._here.pushes, list[bytes]()
        receive = pushes[topic]
        pushes[topic] = held.append

        def let_go() -> None:
            pushes[topic] = receive
            for data in held:
                receive(data)

        yield let_go

    async def test_the_claim_gives_nothing_else(self, valkey_url: str) -> None:
        async with backend_of(valkey_url) as backend:
            queue = backend.queue(unique("push"))
            idle = Idle(queue)
            await idle.claims_nothing()
            async with self.held_back(idle) as let_go:
                for each in "abc":
                    await queue.publish([message(each)])
                asyncio.get_running_loop().call_later(0.1, let_go)
                # The worker has ten places, and one of them is taken by what is on its way.
                await idle.claims_nothing()
                assert (await idle.gets()).claimed.id == "a"
            assert [it.id for it in (await idle.credit.claim(10, LEASE_S)).messages] == ["b", "c"]
            await idle.credit.close()

    async def test_one_that_does_not_come_keeps_no_place(
        self, monkeypatch: pytest.MonkeyPatch, client: redis.Redis, valkey_url: str
    ) -> None:
        monkeypatch.setattr("sdpatterns.backends.redis.credit._ARRIVAL_MAX_S", 0.05)
        async with backend_of(valkey_url) as backend:
            name = unique("push")
            queue = backend.queue(name)
            idle = Idle(queue)
            await idle.claims_nothing()
            async with self.held_back(idle) as let_go:
                await queue.publish([message("a")])
                await queue.publish([message("b")])
                assert [it.id for it in (await idle.credit.claim(10, LEASE_S)).messages] == ["b"]
                # The connection may be deaf: for a while it leaves no credit.
                await idle.claims_nothing()
                assert credits_in(client, name) == []
                # It comes after all. Its place is taken by now, so that it is given back.
                async with backend.signals.subscribe(queue.topic) as subscription:
                    let_go()
                    assert await subscription.wait(5)
                await idle.gets_nothing()
            [again] = (await queue.claim(10, LEASE_S)).messages
            assert (again.id, again.attempt) == ("a", 1)
            await idle.credit.close()

    async def test_a_credit_that_is_taken_back_twice_waits_for_it(self, valkey_url: str) -> None:
        async with backend_of(valkey_url) as backend:
            queue = backend.queue(unique("push"))
            idle = Idle(queue)
            await idle.claims_nothing()
            async with self.held_back(idle) as let_go:
                await queue.publish([message("a")])
                closing = asyncio.create_task(idle.credit.close())
                await asyncio.sleep(0.05)
                closing.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await closing
                async with backend.signals.subscribe(queue.topic) as subscription:
                    let_go()
                    assert idle.credit.pushed() or await subscription.wait(5)
            await idle.credit.close()

    async def test_a_credit_that_is_taken_back_waits_for_it(self, valkey_url: str) -> None:
        async with backend_of(valkey_url) as backend:
            queue = backend.queue(unique("push"))
            idle = Idle(queue)
            await idle.claims_nothing()
            async with self.held_back(idle) as let_go:
                await queue.publish([message("a")])
                asyncio.get_running_loop().call_later(0.1, let_go)
                await idle.credit.close()
            [(claimed, _)] = idle.credit.pushed()
            assert await queue.settle([Requeue(claimed, counts=False)]) == [True]
            [again] = (await queue.claim(10, LEASE_S)).messages
            assert again.attempt == 1


async def test_a_credit_that_is_taken_back_gets_nothing(client: redis.Redis, valkey_url: str) -> None:
    async with backend_of(valkey_url) as backend:
        name = unique("push")
        queue = backend.queue(name)
        idle = Idle(queue)
        await idle.claims_nothing()
        await idle.credit.close()
        assert credits_in(client, name) == []
        await queue.publish([message("a")])
        await idle.gets_nothing()
        assert [it.id for it in (await idle.credit.claim(10, LEASE_S)).messages] == ["a"]
        await idle.credit.close()


async def test_a_message_for_a_worker_that_left_is_ignored(valkey_url: str, client: redis.Redis) -> None:
    async with backend_of(valkey_url) as backend:
        idle = Idle(backend.queue(unique("push")))
        await idle.claims_nothing()
        channel = f"sdp:!{idle.credit._topic}"
        async with backend.signals.subscribe("other") as subscription:
            idle.credit._here.pushes.clear()
            client.publish(channel, b"\xff\xfe")
            idle.credit._here.pushes[idle.credit._topic] = lambda _: None
            await idle.credit.close()
            assert not await subscription.wait(0.1)
            # The channel is left at once, so that the server knows that the worker is gone.
            assert client.pubsub_numsub(channel) == [(channel.encode(), 0)]
            await backend.signals.notify("other")
            assert await subscription.wait(5)


async def test_those_that_listen_to_every_channel_are_no_workers(client: redis.Redis, valkey_url: str) -> None:
    name = unique("push")
    async with backend_of(valkey_url) as dead:
        await Idle(dead.queue(name)).claims_nothing()
        await Idle(dead.queue(name)).claims_nothing()
    with client.pubsub() as everything:
        everything.psubscribe("*")
        assert everything.get_message(timeout=5) is not None
        async with backend_of(valkey_url) as backend:
            queue, idle = backend.queue(name), Idle(backend.queue(name))
            await idle.claims_nothing()
            await queue.publish([message("a")])
            assert (await idle.gets()).claimed.id == "a"
            assert faults_of(client, name) == []
            await idle.credit.close()


async def test_a_duplicate_on_a_full_server_is_one() -> None:
    with valkey_process() as process, redis.Redis(port=process.port) as client:
        async with backend_of(f"redis://127.0.0.1:{process.port}") as backend:
            queue = backend.queue("full")
            await queue.publish([message("a")])
            client.config_set("maxmemory", 1)
            assert await queue.publish([message("a")]) == [False]
            with pytest.raises(BackendFull):
                await queue.publish([message("b")])
            client.config_set("maxmemory", 0)


async def test_without_the_signals_it_claims_as_ever(monkeypatch: pytest.MonkeyPatch, valkey_url: str) -> None:
    async with backend_of(valkey_url) as backend:
        queue = backend.queue(unique("push"))
        idle = Idle(queue)

        async def never(_topics: object) -> bool:
            await asyncio.sleep(60)
            return False

        monkeypatch.setattr(idle.credit._here.listener, "add", never)
        await asyncio.wait_for(idle.claims_nothing(), 2)
        await queue.publish([message("a")])
        begin = asyncio.get_running_loop().time()
        assert len((await idle.credit.claim(10, LEASE_S)).messages) == 1
        assert asyncio.get_running_loop().time() - begin < 0.4
        await idle.credit.close()


async def test_what_workers_that_died_have_used_is_forgotten(client: redis.Redis, valkey_url: str) -> None:
    async with backend_of(valkey_url) as backend:
        name = unique("push")
        queue, key = backend.queue(name), queue_keys("sdp", name)[-1]
        idle = Idle(queue)
        await idle.claims_nothing()
        [mine] = credits_in(client, name)
        client.zadd(key, {"dead 1": 1, " old 1": 4e15 + 1, " new 1": 8e15})
        await idle.claims_nothing()
        assert credits_in(client, name) == [mine, b" new 1"]
        ttl: Any = client.pttl(key)
        assert 0 < ttl <= 60_000
        # What is used stands behind every credit, and is never taken for one.
        await queue.publish([message("a")])
        assert (await idle.gets()).claimed.id == "a"
        ttl = client.pttl(key)
        assert 0 < ttl <= 60_000
        await queue.publish([message("b")])
        await idle.gets_nothing()
        await idle.credit.close()


@pytest.mark.parametrize("more", ["", "+pexpire +pubsub"])
async def test_what_the_permissions_of_the_page_allow(more: str) -> None:
    # Before there was a push, the page did not name these.
    with valkey_process() as process, redis.Redis(port=process.port) as client:
        rules = f"-@all +evalsha +eval +time +get +set +del +publish +subscribe +@hash +@sortedset +exists {more}"
        client.execute_command("ACL", "SETUSER", "worker", "on", ">secret", "~sdp:*", "&sdp:!*", *rules.split())
        async with backend_of(f"redis://worker:secret@127.0.0.1:{process.port}") as backend:
            idle = Idle(backend.queue("allowed"))
            await idle.claims_nothing()
            await backend.queue("allowed").publish([message("a")])
            assert (await idle.gets()).claimed.id == "a"
            await idle.credit.close()


async def test_a_full_server_pushes_nothing_and_keeps_what_it_has() -> None:
    with valkey_process() as process, redis.Redis(port=process.port) as client:
        async with backend_of(f"redis://127.0.0.1:{process.port}") as backend:
            queue, idle = backend.queue("full"), Idle(backend.queue("full"))
            await idle.claims_nothing()
            client.config_set("maxmemory", 1)
            with pytest.raises(BackendFull):
                await queue.publish([message("a")])
            await idle.gets_nothing()
            await idle.claims_nothing()
            client.config_set("maxmemory", 0)
            assert await queue.publish([message("a")]) == [True]
            assert (await idle.gets()).claimed.id == "a"
            assert faults_of(client, "full") == []
            await idle.credit.close()


async def test_a_blocking_worker_and_a_cluster_have_none(valkey_url: str) -> None:
    blocking = RedisBackend.from_url(valkey_url, blocking=True, warns_of_loss=False)
    assert await asyncio.to_thread(lambda: blocking.queue("q").credit(lambda: None)) is None
    assert RedisBackend.from_url(valkey_url, cluster=True, warns_of_loss=False).queue("q").credit(lambda: None) is None


async def test_a_worker_never_has_more_than_its_places(valkey_url: str) -> None:
    async with backend_of(valkey_url) as backend:
        jobs = Jobs(unique("push"), backend=backend)
        now = most = done = 0
        all_done = asyncio.Event()

        @jobs.job
        async def work() -> None:
            nonlocal now, most, done
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.002)
            now -= 1
            done += 1
            if done == 300:
                all_done.set()

        async def enqueue(pause_s: float) -> None:
            for _ in range(100):
                await work.enqueue()
                await asyncio.sleep(pause_s)

        async with Worker(jobs, concurrency=2, drain_s=0):
            await asyncio.gather(*(enqueue(pause_s) for pause_s in (0.0, 0.001, 0.004)))
            await asyncio.wait_for(all_done.wait(), 20)
        assert most == 2
        assert done == 300


async def test_a_worker_that_asks_whether_it_is_paused_has_no_more_than_its_places(
    monkeypatch: pytest.MonkeyPatch, valkey_url: str
) -> None:
    async with backend_of(valkey_url) as backend:
        jobs = Jobs(unique("push"), backend=backend)
        now = most = done = 0
        asked, go_on = asyncio.Event(), asyncio.Event()

        @jobs.job
        async def work() -> None:
            nonlocal now, most, done
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.05)
            now -= 1
            done += 1

        async def is_paused() -> bool:
            asked.set()
            await go_on.wait()
            return False

        async with Worker(jobs, concurrency=1, poll_s=0.2, drain_s=5):
            await asyncio.sleep(0.1)
            monkeypatch.setattr(jobs, "is_paused", is_paused)
            await asyncio.wait_for(asked.wait(), 5)
            # One comes while it asks, and one more is ready.
            for _ in range(2):
                await work.enqueue()
            await asyncio.sleep(0.05)
            go_on.set()
            await asyncio.sleep(0.3)
        assert (most, done) == (1, 2)


async def test_a_paused_worker_gives_back_what_was_pushed(monkeypatch: pytest.MonkeyPatch, valkey_url: str) -> None:
    async with backend_of(valkey_url) as backend:
        jobs, ran = Jobs(unique("push"), backend=backend), list[str]()
        asked, go_on = asyncio.Event(), asyncio.Event()

        @jobs.job
        async def work() -> None:
            ran.append("")

        async def is_paused() -> bool:
            asked.set()
            await go_on.wait()
            return True

        async with Worker(jobs, poll_s=0.2):
            await asyncio.sleep(0.1)
            monkeypatch.setattr(jobs, "is_paused", is_paused)
            await asyncio.wait_for(asked.wait(), 5)
            await work.enqueue()
            await asyncio.sleep(0.05)
            go_on.set()
            await asyncio.sleep(0.1)
            [claimed] = (await jobs.queue.claim(10, LEASE_S)).messages
            assert claimed.attempt == 1
        assert ran == []


@pytest.mark.parametrize("drain_s", [0.0, 0.001, 5.0])
async def test_what_is_pushed_while_a_worker_stops_is_run_or_given_back(drain_s: float, valkey_url: str) -> None:
    async with backend_of(valkey_url) as backend, backend_of(valkey_url) as other:
        for number in range(5):
            name = unique("push")
            jobs, ran, has_begun = Jobs(name, backend=backend), list[str](), asyncio.Event()

            @jobs.job
            async def work(each: str, ran: list[str] = ran, has_begun: asyncio.Event = has_begun) -> None:
                has_begun.set()
                await asyncio.sleep(0.02)
                ran.append(each)

            async with Worker(jobs, drain_s=drain_s):
                await asyncio.sleep(0.02)
                await work.enqueue("a")
                await asyncio.wait_for(has_begun.wait(), 5)
                await asyncio.sleep(0.002 * number)
                second = asyncio.create_task(work.enqueue("b"))
            await second
            left = [it.payload for it in (await other.queue(name).claim(10, LEASE_S)).messages]
            assert len(ran) + len(left) == 2, (ran, left)


async def test_a_worker_that_stops_gives_back_what_was_pushed(valkey_url: str) -> None:
    async with backend_of(valkey_url) as backend, backend_of(valkey_url) as other:
        name = unique("push")
        jobs, ran, has_run = Jobs(name, backend=backend), list[str](), asyncio.Event()

        @jobs.job
        async def work(each: str) -> None:
            ran.append(each)
            has_run.set()

        async with Worker(jobs):
            await work.enqueue("a")
            await asyncio.wait_for(has_run.wait(), 5)
            await asyncio.sleep(0.05)
        for each in "bc":
            await work.enqueue(each)
        await asyncio.sleep(0.05)
        claims = await other.queue(name).claim(10, LEASE_S)
        assert [it.attempt for it in claims.messages] == [1, 1]
        assert ran == ["a"]


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
async def test_a_worker_that_was_killed_loses_nothing(kill: signal.Signals, valkey_url: str) -> None:
    name = unique("push")
    script = (
        "import asyncio, sys\n"
        "from sdpatterns.backends.redis import RedisBackend\n"
        "async def main():\n"
        "    async with RedisBackend.from_url(sys.argv[1], warns_of_loss=False) as backend:\n"
        "        credit = backend.queue(sys.argv[2]).credit(bool)\n"
        "        await credit.claim(1, 60.0)\n"
        "        print('idle', flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    process = subprocess.Popen(  # noqa: ASYNC220 - it is awaited by its line
        [sys.executable, "-c", script, valkey_url, name], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert (await asyncio.to_thread(process.stdout.readline)).strip() == "idle"
    os.kill(process.pid, kill)
    await asyncio.to_thread(process.wait)
    process.stdout.close()
    async with backend_of(valkey_url) as backend:
        queue = backend.queue(name)
        await asyncio.sleep(0.1)
        await queue.publish([message("a")])
        found: list[Claimed] = list((await queue.claim(10, LEASE_S)).messages)
        assert [it.id for it in found] == ["a"]
