"""Logs on Redis, beyond the contract: its keys, what a call costs, and replies that are lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import redis
from redis.crc import key_slot

from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.redis.events.scripts import LogKeys
from sdpatterns.errors import OutcomeUnknown, VersionConflict
from sdpatterns.ports.log import ANY, NewEvent
from sdpatterns.testing.contracts.stage import RuntimeName, run
from sdpatterns.testing.valkey import valkey_process
from tests.backends.everywhere import unique
from tests.backends.redis.proxy import FaultProxy

RUNTIMES: list[RuntimeName] = ["asyncio", "blocking"]


def events(*names: str) -> list[NewEvent]:
    return [NewEvent(id=name, type="noted", data=b"x") for name in names]


def play_on(url: str, play: Callable[[RedisBackend], Awaitable[None]], runtime: RuntimeName = "asyncio") -> None:
    backend = RedisBackend.from_url(url, blocking=runtime == "blocking", warns_of_loss=False)

    async def whole() -> None:
        async with backend:
            await play(backend)

    run(runtime, whole)


def test_all_keys_of_a_log_are_on_one_node_and_logs_are_spread() -> None:
    names, streams = ["orders", "{orders}", "a{b}c", "}{", "a/b", "ключ"], ["", "a", "{a}", "}{", "ключ"]
    all_keys = [LogKeys("sdp", name) for name in names]
    slots = [{key_slot(key) for key in (*keys.whole, *map(keys.of, streams))} for keys in all_keys]
    assert all(len(each) == 1 for each in slots)
    assert len({slot for each in slots for slot in each}) == len(names)
    every = {key for keys in all_keys for key in (*keys.whole, *map(keys.of, streams))}
    assert len(every) == len(names) * (3 + len(streams))


def test_what_many_callers_append_in_one_turn_is_one_call(valkey_url: str) -> None:
    async def play(backend: RedisBackend) -> None:
        log = backend.log(unique("fold"))
        await log.append("warm", ANY, events("0"))
        with redis.Redis.from_url(valkey_url) as client:
            before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
            answers = await asyncio.gather(*(log.append(f"{number}", 0, events("1", "2")) for number in range(200)))
            assert client.info("commandstats")["cmdstat_evalsha"]["calls"] - before <= 5
        assert [each.version for each in answers] == [2] * 200
        assert len({each.position for each in answers}) == 200

    play_on(valkey_url, play)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_lost_replies(runtime: RuntimeName, valkey_url: str) -> None:
    with FaultProxy(valkey_url) as proxy:

        async def play(backend: RedisBackend) -> None:
            log = backend.log(unique("lost"))
            await log.append("warm", 0, events("0"))
            for number, fault in enumerate(("before", "after")):
                proxy.arm(fault)  # type: ignore[arg-type]
                assert (await log.append("a", 2 * number, events(f"{number}", f"{number}+"))).version == 2 * number + 2
                proxy.arm(fault)  # type: ignore[arg-type]
                with pytest.raises(VersionConflict):
                    await log.append("warm", 0, events("other"))
                proxy.arm(fault)  # type: ignore[arg-type]
                with pytest.raises(OutcomeUnknown):
                    await log.append(f"any-{fault}", ANY, events("1"))
            assert [each.id for each in (await log.read("a")).events] == ["0", "0+", "1", "1+"]
            assert (await log.read("any-before")).version == 0
            assert (await log.read("any-after")).version == 1
            assert proxy.struck == 6

        play_on(proxy.url, play, runtime)


def test_a_user_with_the_permissions_of_the_page_can_use_a_log() -> None:
    with valkey_process() as process, redis.Redis(port=process.port) as client:
        rules = "-@all +evalsha +eval +time +get +set +del +publish +@hash +@stream"
        client.execute_command("ACL", "SETUSER", "writer", "on", ">secret", "~sdp:*", "&sdp:!*", *rules.split())

        async def play(backend: RedisBackend) -> None:
            log = backend.log("allowed")
            await log.append("a", 0, events("1", "2", "3"))
            await log.append("b", 0, events("4", "5"))
            assert await log.append("a", 0, events("1", "2", "3")) == (3, 3)
            assert len((await log.read("a", backwards=True)).events) == 3
            assert await log.trim_stream("a", 2) == 1
            assert await log.trim(4) == 2
            assert [each.id for each in (await log.read_all(3)).events] == ["4", "5"]

        play_on(f"redis://writer:secret@127.0.0.1:{process.port}", play)


@pytest.mark.unmeasured
def test_an_event_takes_little_memory() -> None:
    with valkey_process() as process, redis.Redis(port=process.port) as client:

        async def play(backend: RedisBackend) -> None:
            log = backend.log("memory")
            before = client.info("memory")["used_memory"]
            for start in range(0, 5_000, 500):
                new = [NewEvent(id=f"{start + n:032d}", type="noted", data=b"x" * 100) for n in range(500)]
                await log.append(f"stream-{start}", 0, new)
            each = (client.info("memory")["used_memory"] - before) / 5_000
            # The data and the id, and what the server keeps for two entries of a stream.
            assert 132 < each < 280, each

        play_on(f"redis://127.0.0.1:{process.port}", play)
