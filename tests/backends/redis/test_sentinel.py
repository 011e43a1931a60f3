"""A client of Redis Sentinel as the source: the backend follows the primary through a failover."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import redis
import redis.asyncio.sentinel
import redis.sentinel

from sdpatterns.backends.redis import RedisBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.runtime import finish
from sdpatterns.errors import BackendError
from sdpatterns.ports.states import Space
from sdpatterns.testing import valkey
from sdpatterns.testing.contracts.steps import Add
from sdpatterns.testing.processes import ServerProcess, owned_directory, running

SERVICE = "main"
PATIENCE_S = 60.0


class Watched(NamedTuple):
    primary: ServerProcess
    replica: ServerProcess
    sentinel: ServerProcess


@contextlib.contextmanager
def watched() -> Iterator[Watched]:
    """A primary, its replica, and a Sentinel that watches them."""
    with valkey.valkey_process() as primary, valkey.valkey_process() as replica, owned_directory("sentinel-") as place:
        with redis.Redis(port=replica.port) as client:
            client.replicaof("127.0.0.1", primary.port)
            until(lambda: client.info("replication")["master_link_status"] == "up")
        settings = place / "sentinel.conf"
        settings.write_text(
            f"bind 127.0.0.1\nsentinel monitor {SERVICE} 127.0.0.1 {primary.port} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} 500\nsentinel failover-timeout {SERVICE} 5000\n"
        )
        sentinel = ServerProcess(
            name="Sentinel",
            directory=place,
            command=lambda port: [str(valkey._valkey_binary()), str(settings), "--sentinel", "--port", str(port)],
            ready=lambda process: knows_a_replica(process.port),
        )
        with running(sentinel):
            yield Watched(primary, replica, sentinel)


def knows_a_replica(port: int) -> bool:
    try:
        with redis.Redis(port=port) as client:
            return len(client.sentinel_slaves(SERVICE)) == 1
    except redis.RedisError:
        return False


def until(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


async def followed(backend: RedisBackend, servers: Watched) -> None:
    """Count, lose the primary, and count on at the server that Sentinel names next."""
    async with backend:
        await backend.create()
        cells = backend.states.cells(Space("sentinel", IntegersCodec()))
        before = await cells.transact("a", Add())
        with redis.Redis(port=servers.replica.port) as client:
            until(lambda: client.exists("sdp:sentinel/a"))
        servers.primary.kill()
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                after = await cells.transact("a", Add())
                break
            except BackendError:
                assert time.monotonic() < deadline
                await backend.states.runtime.sleep(0.05)
        assert after[0] == before[0] + 1
    with redis.Redis(port=servers.replica.port) as client:
        assert client.info("replication")["role"] == "master"


@pytest.mark.parametrize("blocking", [True, False])
def test_the_primary_is_followed_through_a_failover(*, blocking: bool) -> None:
    with watched() as servers:
        where = [("127.0.0.1", servers.sentinel.port)]
        if blocking:
            found = redis.sentinel.Sentinel(where)
            backend = RedisBackend(found.master_for(SERVICE), warns_of_loss=False)
            finish(followed(backend, servers))
            for each in found.sentinels:
                each.close()
        else:
            asyncio.run(in_loop(where, servers))


async def in_loop(where: list[tuple[str, int]], servers: Watched) -> None:
    found = redis.asyncio.sentinel.Sentinel(where)
    await followed(RedisBackend(found.master_for(SERVICE), warns_of_loss=False), servers)
    for each in found.sentinels:
        await each.aclose()
