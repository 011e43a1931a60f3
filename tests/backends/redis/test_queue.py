"""Queues on Redis, beyond the contract: its keys, its numbers, what a call may cost, and what is left in the end."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest
import redis
from redis.crc import key_slot

from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.redis.messages.scripts import queue_keys
from sdpatterns.backends.redis.names import cell_name, cell_space
from sdpatterns.errors import BackendFull, BackendUnavailable, OutcomeUnknown
from sdpatterns.ports.queue import Claimed, Complete, Message, MessageQueue, Park, QueueSettings, Requeue
from sdpatterns.testing.contracts.stage import RuntimeName, run
from sdpatterns.testing.valkey import valkey_process
from tests.backends.everywhere import unique
from tests.backends.redis.proxy import FaultProxy
from tests.backends.redis.queue_keys import faults_of

RUNTIMES: list[RuntimeName] = ["asyncio", "blocking"]
LEASE_S = 60.0


def messages(count: int, prefix: str = "m", **words: Any) -> list[Message]:
    return [Message(id=f"{prefix}{number}", payload=b"x", **words) for number in range(count)]


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as client:
        yield client


def play_on(
    url: str, play: Callable[[RedisBackend], Awaitable[None]], runtime: RuntimeName = "asyncio", **more: Any
) -> None:
    backend = RedisBackend.from_url(url, blocking=runtime == "blocking", warns_of_loss=False, **more)

    async def whole() -> None:
        async with backend:
            await play(backend)

    run(runtime, whole)


class History:
    """Random calls, by a seed."""

    def __init__(self, backend: RedisBackend, name: str, seed: int) -> None:
        self.backend = backend
        self.queue = backend.queue(name, QueueSettings(parked_keep_s=60.0))
        self.random = random.Random(seed)
        self.claims: list[Claimed] = []

    def message(self) -> Message:
        pick = self.random
        return Message(
            id=f"{pick.randrange(40)}",
            payload=b"x",
            key=pick.choice([None, "a", "b", "a\0", "%"]),
            tenant=pick.choice(["", "t", "t\0", "t%00"]),
            delay_s=pick.choice([0.0, 0.0, 3.0]),
            rank_s=pick.choice([0.0, 0.0, -5.0, 5.0]),
            replace=pick.random() < 0.3,
        )

    def end(self) -> Any:
        claimed = self.random.choice(self.claims)
        ends = [Complete(claimed), Complete(claimed), Park(claimed, "no"), Requeue(claimed, 2.0, counts=False)]
        return self.random.choice(ends)

    async def step(self) -> None:
        pick, queue = self.random, self.queue
        names = [f"{pick.randrange(40)}" for _ in range(3)]
        verb = pick.randrange(10)
        if verb < 3:
            await queue.publish([self.message() for _ in range(pick.randrange(6))])
        elif verb < 5:
            self.claims += (await queue.claim(pick.randrange(8), pick.choice([1.0, 5.0]))).messages
            del self.claims[:-12]
        elif verb == 5 and self.claims:
            await queue.settle([self.end() for _ in range(pick.randrange(5))])
        elif verb == 6 and self.claims:
            await queue.extend([pick.choice(self.claims) for _ in range(2)], 3.0)
        elif verb == 7:
            self.backend.shift(pick.choice([0.5, 2.0, 30.0]))
        else:
            await pick.choice([queue.withdraw, queue.redrive, queue.discard])(names)


@pytest.mark.parametrize("seed", range(3))
def test_each_message_stands_in_one_place(valkey_url: str, client: redis.Redis, seed: int) -> None:
    name = unique("places")

    async def play(backend: RedisBackend) -> None:
        history = History(backend, name, seed)
        for number in range(120):
            await history.step()
            depth = await history.queue.depth()
            faults = faults_of(client, name)
            assert not faults, f"after step {number}: {faults[0]}"
            assert sum(depth[:4]) == client.hlen(queue_keys("sdp", name)[1])
        await drain(backend, history.queue)
        assert_nothing_is_left(client, name)

    play_on(valkey_url, play)


async def drain(backend: RedisBackend, queue: MessageQueue) -> None:
    """Settle all that there is."""
    for _ in range(200):
        claimed = (await queue.claim(100, LEASE_S)).messages
        assert all(await queue.settle([Complete(each) for each in claimed]))
        if sum((await queue.depth())[:3]) == 0:
            break
        backend.shift(10.0)
    await queue.discard([each.id for each in await queue.parked(1000)])


def assert_nothing_is_left(client: redis.Redis, name: str) -> None:
    last, *others = queue_keys("sdp", name)
    assert client.exists(*others) == 0
    # It only keeps the time from going back, and ends by itself.
    assert 0 < client.pttl(last) <= 5_000


def test_all_keys_of_a_queue_are_on_one_node_and_queues_are_spread() -> None:
    names = ["jobs", "{jobs}", "a{b}c", "}{", "", "a/b", "a%2Fb", "ключ", "jobs}"]
    slots = [{key_slot(key) for key in queue_keys("sdp", name)} for name in names]
    assert all(len(each) == 1 for each in slots)
    assert len({slot for each in slots for slot in each}) == len(names)
    assert len({key for name in names for key in queue_keys("sdp", name)}) == 11 * len(names)


def test_no_cell_has_the_name_of_a_key_of_a_queue() -> None:
    words = ["jobs", "%queue", "%queue/jobs", "{%queue/jobs}", "{%queue/jobs}last", "{jobs}", "last"]
    groups = [None, *words]
    cells = {
        cell_name(cell_space("sdp", space, group), key) for space in words for group in groups for key in ["", *words]
    }
    assert len(cells) == len(words) * len(groups) * (1 + len(words))
    for name in ("jobs", "%queue/jobs", "", "/"):
        assert cells.isdisjoint(queue_keys("sdp", name))
        # A cell has a slash behind its hash tag, or it has none.
        assert all(
            b"/" not in key.rpartition(b"}")[2] and key.startswith(b"sdp:{%q") for key in queue_keys("sdp", name)
        )


def calls_of(client: redis.Redis) -> int:
    return sum(facts["calls"] for name, facts in client.info("commandstats").items() if name != "cmdstat_info")


@pytest.mark.unmeasured
def test_a_claim_does_not_look_at_tenants_whose_turn_it_is_not(valkey_url: str, client: redis.Redis) -> None:
    async def play(backend: RedisBackend) -> None:
        queue = backend.queue(unique("tenants"))
        costs = []
        for tenants in (range(20), range(20, 2_000)):
            await queue.publish([Message(id=f"{each}", payload=b"", tenant=f"{each}") for each in tenants])
            before = calls_of(client)
            claimed = (await queue.claim(10, LEASE_S)).messages
            costs.append(calls_of(client) - before)
            assert len(claimed) == 10
        assert costs[1] <= costs[0] + 2

    play_on(valkey_url, play)


def test_tenants_take_turns_in_a_claim_and_from_claim_to_claim(valkey_url: str) -> None:
    async def play(backend: RedisBackend) -> None:
        queue = backend.queue(unique("turns"))
        for tenant, count in (("a", 9), ("b", 3), ("c", 3)):
            await queue.publish(messages(count, tenant, tenant=tenant))
        got = [[each.tenant for each in (await queue.claim(n, LEASE_S)).messages] for n in (1, 1, 1, 4, 4, 9)]
        assert got == [["a"], ["b"], ["c"], [*"abca"], [*"bcaa"], [*"aaaa"]]

    play_on(valkey_url, play)


def test_times_are_exact_to_the_microsecond(valkey_url: str) -> None:
    async def play(backend: RedisBackend) -> None:
        queue = backend.queue(unique("exact"))
        await queue.publish(messages(3))
        found = (await queue.claim(3, 30.0)).messages
        # Shorter decimals would give all three the same.
        assert [each.published_us - found[0].published_us for each in found] == [0, 1, 2]
        assert 30_000_000 - 1_000 <= found[0].leased_until_us - found[0].fence <= 30_000_000

    play_on(valkey_url, play)


def test_the_time_of_a_queue_never_goes_back(valkey_url: str) -> None:
    async def play(backend: RedisBackend) -> None:
        queue = backend.queue(unique("back"))
        await queue.publish(messages(2))
        backend.shift(100.0)
        [first] = (await queue.claim(1, 10.0)).messages
        backend.shift(-1_000.0)
        [second] = (await queue.claim(2, 10.0)).messages
        assert second.fence > first.fence
        assert (await queue.claim(2, 10.0)).messages == []
        assert await queue.settle([Complete(first), Complete(second)]) == [True, True]

    play_on(valkey_url, play)


def test_two_workers_and_one_key(valkey_url: str) -> None:
    async def play(backend: RedisBackend) -> None:
        name = unique("key")
        async with RedisBackend.from_url(valkey_url, warns_of_loss=False) as another:
            one, two = backend.queue(name), another.queue(name)
            await one.publish(messages(3, key="k"))
            for number in range(3):
                [held] = (await one.claim(5, LEASE_S)).messages
                assert held.id == f"m{number}"
                assert (await two.claim(5, LEASE_S)).messages == []
                assert await one.settle([Complete(held)]) == [True]

    play_on(valkey_url, play)


@pytest.mark.parametrize("key", [None, "k"])
def test_a_late_worker_changes_nothing(valkey_url: str, client: redis.Redis, key: str | None) -> None:
    async def play(backend: RedisBackend) -> None:
        name = unique("late")
        queue = backend.queue(name)
        await queue.publish(messages(1, key=key))
        [late] = (await queue.claim(1, 10.0)).messages
        backend.shift(11.0)
        [now] = (await queue.claim(1, LEASE_S)).messages
        assert (now.attempt, now.fence > late.fence) == (2, True)
        before = client.hgetall(queue_keys("sdp", name)[1])
        for end in (Complete(late), Requeue(late, payload=b"late"), Park(late, "late")):
            assert await queue.settle([end]) == [False]
        assert await queue.extend([late], 99.0) == [False]
        assert client.hgetall(queue_keys("sdp", name)[1]) == before
        assert await queue.settle([Complete(now)]) == [True]
        assert await queue.settle([Complete(late)]) == [False]

    play_on(valkey_url, play)


def test_what_many_callers_do_in_one_turn_is_one_call(valkey_url: str) -> None:
    async def play(backend: RedisBackend) -> None:
        queue = backend.queue(unique("fold"))
        await asyncio.gather(*(queue.publish([each]) for each in messages(300)))
        claimed = (await queue.claim(500, LEASE_S)).messages
        assert len(claimed) == 300
        with redis.Redis.from_url(valkey_url) as client:
            before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
            answers = await asyncio.gather(*(queue.settle([Complete(each)]) for each in claimed))
            assert client.info("commandstats")["cmdstat_evalsha"]["calls"] - before <= 5
        assert answers == [[True]] * 300

    play_on(valkey_url, play)


def test_a_call_of_many_messages_is_split_between_callers_only(valkey_url: str) -> None:
    async def play(backend: RedisBackend) -> None:
        queue = backend.queue(unique("split"))
        lists = [messages(400, f"{number}-") for number in range(4)]
        answers = await asyncio.gather(*(queue.publish(each) for each in lists))
        assert answers == [[True] * 400] * 4
        assert (await queue.depth()).due == 1_600

    play_on(valkey_url, play)


@contextlib.contextmanager
def limited(client: redis.Redis) -> Iterator[None]:
    client.config_set("maxmemory", 1)
    try:
        yield
    finally:
        client.config_set("maxmemory", 0)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_full_server_takes_no_message_and_lets_work_go_on(runtime: RuntimeName) -> None:
    with valkey_process() as process, redis.Redis(port=process.port) as client:

        async def play(backend: RedisBackend) -> None:
            queue = backend.queue("full")
            await queue.publish([*messages(5), *messages(4, "k", key="k")])
            [delayed] = (await queue.claim(1, LEASE_S)).messages
            with limited(client):
                for more in (messages(1, "more"), messages(1, "more", key="k"), messages(1, "more", delay_s=1.0)):
                    with pytest.raises(BackendFull, match="is full"):
                        await queue.publish(more)
                ends: list[Callable[[Claimed], Any]] = [Complete, lambda it: Park(it, "no"), Requeue, Complete]
                for end in ends:
                    [claimed] = (await queue.claim(1, LEASE_S)).messages
                    assert await queue.settle([end(claimed)]) == [True]
                assert await queue.extend([delayed], LEASE_S) == [True]
            assert faults_of(client, "full") == []
            assert (await queue.depth())[:4] == (2, 3, 1, 1)

        play_on(f"redis://127.0.0.1:{process.port}", play, runtime)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_lost_replies(runtime: RuntimeName, valkey_url: str) -> None:
    with FaultProxy(valkey_url) as proxy:

        async def play(backend: RedisBackend) -> None:
            queue = backend.queue(unique("lost"))
            await queue.publish(messages(1, "warm"))
            await queue.settle([Complete(each) for each in (await queue.claim(1, LEASE_S)).messages])
            proxy.arm("after")
            # The second attempt knows the messages of the first.
            assert await queue.publish([*messages(1), *messages(1)]) == [True, False]
            proxy.arm("after")
            assert await queue.publish([*messages(1), *messages(1, replace=True)]) == [False, True]
            assert await queue.publish(messages(1)) == [False]
            assert sum((await queue.depth())[:4]) == 1
            proxy.arm("after")
            with pytest.raises(OutcomeUnknown):
                await queue.claim(1, LEASE_S)
            assert (await queue.depth()).leased == 1
            backend.shift(LEASE_S + 1)
            [claimed] = (await queue.claim(1, LEASE_S)).messages
            assert claimed.attempt == 2
            for verb in (lambda: queue.extend([claimed], LEASE_S), lambda: queue.settle([Complete(claimed)])):
                proxy.arm("after")
                assert await verb() == [True]
            assert sum((await queue.depth())[:4]) == 0
            assert proxy.struck == 5

        play_on(proxy.url, play, runtime)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_server_that_forgot_its_scripts_gets_them_again(runtime: RuntimeName, valkey_url: str) -> None:
    async def play(backend: RedisBackend) -> None:
        queue = backend.queue(unique("scripts"))
        with redis.Redis.from_url(valkey_url) as client:
            await queue.publish(messages(1))
            client.script_flush()
            await queue.publish(messages(1, "n"))
            client.script_flush()
            claimed = (await queue.claim(5, LEASE_S)).messages
            client.script_flush()
            assert await queue.settle([Complete(each) for each in claimed]) == [True, True]

    play_on(valkey_url, play, runtime)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_server_that_forgot_everything(runtime: RuntimeName) -> None:
    with valkey_process() as process, redis.Redis(port=process.port) as client:

        async def play(backend: RedisBackend) -> None:
            queue = backend.queue("flushed")
            await queue.publish(messages(3))
            [claimed] = (await queue.claim(1, LEASE_S)).messages
            client.flushall()
            assert await queue.extend([claimed], LEASE_S) == [False]
            assert await queue.settle([Requeue(claimed), Park(claimed, "no")]) == [False, False]
            assert await queue.claim(1, LEASE_S) == ([], None)
            assert await queue.publish(messages(1)) == [True]
            assert faults_of(client, "flushed") == []

        play_on(f"redis://127.0.0.1:{process.port}", play, runtime)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_frozen_server(runtime: RuntimeName) -> None:
    with valkey_process() as process:

        async def play(backend: RedisBackend) -> None:
            queue = backend.queue("frozen")
            await queue.publish(messages(2))
            [claimed] = (await queue.claim(1, LEASE_S)).messages
            process.pause()
            try:
                calls: Sequence[Callable[[], Awaitable[Any]]] = (
                    lambda: queue.publish(messages(1, "n")),
                    lambda: queue.settle([Complete(claimed)]),
                    lambda: queue.claim(1, LEASE_S),
                    queue.depth,
                )
                for call in calls:
                    with pytest.raises((OutcomeUnknown, BackendUnavailable)):
                        await call()
            finally:
                process.resume()
            # The server may still carry out what it was sent; nothing of it is there twice.
            await queue.publish(messages(1, "n"))
            await queue.settle([Complete(claimed)])
            assert sum((await queue.depth())[:4]) == 2

        play_on(f"redis://127.0.0.1:{process.port}", play, runtime, timeout_s=0.5)


@pytest.mark.unmeasured
def test_a_message_takes_little_memory() -> None:
    with valkey_process() as process, redis.Redis(port=process.port) as client:

        async def play(backend: RedisBackend) -> None:
            queue = backend.queue("memory")
            before = client.info("memory")["used_memory"]
            for start in range(0, 5_000, 500):
                await queue.publish([Message(id=f"{start + n:032d}", payload=b"x" * 100) for n in range(500)])
            each = (client.info("memory")["used_memory"] - before) / 5_000
            # The payload, the id three times, a record of 51 bytes, and what the server keeps for three entries.
            assert 196 < each < 500

        play_on(f"redis://127.0.0.1:{process.port}", play)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_user_with_the_permissions_of_the_page_can_use_a_queue(runtime: RuntimeName) -> None:
    with valkey_process() as process, redis.Redis(port=process.port) as client:
        rules = "-@all +evalsha +eval +time +get +set +del +publish +@hash +@sortedset +exists +pexpire +pubsub"
        client.execute_command("ACL", "SETUSER", "worker", "on", ">secret", "~sdp:*", "&sdp:!*", *rules.split())

        async def play(backend: RedisBackend) -> None:
            queue = backend.queue("allowed")
            await queue.publish([*messages(3), *messages(3, "k", key="k", delay_s=1.0)])
            claimed = (await queue.claim(3, LEASE_S)).messages
            await queue.extend(claimed, LEASE_S)
            await queue.settle([Complete(claimed[0]), Requeue(claimed[1]), Park(claimed[2], "no")])
            assert len(await queue.parked(10)) == 1
            assert await queue.redrive(["m2"]) == [True]
            assert await queue.withdraw(["m2", "k0"]) == [True, True]
            assert (await queue.depth())[:4] == (1, 2, 0, 0)

        play_on(f"redis://worker:secret@127.0.0.1:{process.port}", play, runtime)


def test_the_short_way_and_the_long_way_of_publishing_write_the_same(client: redis.Redis, valkey_url: str) -> None:
    # A message with a key in the same call sends all of them the long way.
    async def play(backend: RedisBackend) -> None:
        queues = [unique("short"), unique("long")]
        plain = [
            Message(id=f"m{n}", payload=b"x", headers={"n": str(n)}, tenant=f"t{n % 2}", rank_s=n) for n in range(5)
        ]
        keyed = Message(id="k", payload=b"x", key="k", tenant="t0")
        for name, more in zip(queues, ([], [keyed]), strict=True):
            queue = backend.queue(name)
            assert await queue.publish([*plain, *more]) == [True] * (5 + len(more))
            assert await queue.publish([plain[0]]) == [False]
            assert await queue.publish([Message(id="n", payload=b"y", tenant="t0")] * 2) == [True, False]
            assert faults_of(client, name) == []
        found = []
        for name in queues:
            claims = await backend.queue(name).claim(10, LEASE_S)
            # Tenants take turns, and the one with the key has one more.
            by_tenant = sorted((it for it in claims.messages if it.id != "k"), key=lambda it: it.tenant)
            found.append([it._replace(fence=0, published_us=0, leased_until_us=0) for it in by_tenant])
        assert found[0] == found[1]
        assert len(found[0]) == 6

    play_on(valkey_url, play)
