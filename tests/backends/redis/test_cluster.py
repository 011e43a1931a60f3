"""A cluster of three: exact steps in a group, refusals across, slots that move."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from sdpatterns.backends.redis import RedisBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.errors import BackendUnavailable
from sdpatterns.ports.states import Space
from sdpatterns.testing.contracts.stage import RuntimeName, run
from sdpatterns.testing.servers import valkey_cluster as fresh_cluster
from tests.backends.redis.proxy import FaultProxy
from tests.backends.redis.steps import Count, CountAll

RUNTIMES: list[RuntimeName] = ["asyncio", "blocking"]


def space() -> str:
    return f"cluster/{secrets.token_hex(4)}"


@pytest.mark.parametrize("script", [True, False], ids=["script", "compare-and-set"])
def test_steps_on_several_cells_of_a_group_are_exact(valkey_cluster: str, script: bool) -> None:
    backend = RedisBackend.from_url(valkey_cluster, cluster=True)
    name = space()

    async def play() -> None:
        async with backend:
            groups = [backend.states.cells(Space(name, IntegersCodec(), group=f"g{place}")) for place in range(60)]
            step = CountAll(script=script, most=7)
            ends = await asyncio.gather(*(cells.transact_many(["a", "b"], step) for cells in groups for _ in range(20)))
            admitted = [end for end in ends if end not in (None, "full")]
            assert len(admitted) == 60 * 7
            for cells in groups:
                assert await cells.read_many(["a", "b"]) == [(7,), (7,)]

    asyncio.run(play())


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_steps_across_groups_are_refused_before_anything_is_sent(valkey_cluster: str, runtime: RuntimeName) -> None:
    with FaultProxy(valkey_cluster) as proxy:
        backend = RedisBackend.from_url(proxy.url, cluster=True, blocking=runtime == "blocking")
        cells = backend.states.cells(Space(space(), IntegersCodec()))

        async def play() -> None:
            for script in (True, False):
                with pytest.raises(TypeError, match="group"):
                    await cells.transact_many(["a", "b"], CountAll(script=script))
            assert proxy.connections == 0

        run(runtime, play)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_cells_without_a_group_are_spread_and_read_together(valkey_cluster: str, runtime: RuntimeName) -> None:
    backend = RedisBackend.from_url(valkey_cluster, cluster=True, blocking=runtime == "blocking")
    cells = backend.states.cells(Space(space(), IntegersCodec()))

    async def play() -> None:
        async with backend:
            keys = [f"{place}" for place in range(40)]
            for key in keys:
                assert await cells.transact(key, Count(script=int(key) % 2 == 0)) == 1
            assert await cells.transact_many(keys[:1], CountAll(script=False)) == [2]
            assert await cells.read_many([*keys, "none"]) == [(2,)] + [(1,)] * 39 + [None]

    run(runtime, play)


class Nodes:
    """The three nodes, to be told to move a slot."""

    def __init__(self, url: str) -> None:
        seed = redis.Redis.from_url(url, decode_responses=True)
        self.clients: list[Any] = []
        self.names: list[str] = []
        for name, facts in seed.execute_command("CLUSTER NODES").items():
            host, port = name.rsplit(":", 1)
            never = Retry(NoBackoff(), 0)
            self.clients.append(redis.Redis(host=host, port=int(port), decode_responses=True, retry=never))
            self.names.append(facts["node_id"])
        seed.close()

    def owner(self, slot: int) -> int:
        for place, client in enumerate(self.clients):
            if client.execute_command("CLUSTER COUNTKEYSINSLOT", slot) is not None:
                own = client.execute_command("CLUSTER NODES")
                mine = next(facts for facts in own.values() if "myself" in facts["flags"])
                if any(int(first) <= slot <= int(last) for first, last in _ranges(mine["slots"])):
                    return place
        raise AssertionError(f"nobody owns {slot}")

    def give(self, slot: int, to: int) -> None:
        for client in self.clients:
            client.execute_command("CLUSTER SETSLOT", slot, "NODE", self.names[to])

    def begin_to_give(self, slot: int, source: int, to: int) -> None:
        self.clients[to].execute_command("CLUSTER SETSLOT", slot, "IMPORTING", self.names[source])
        self.clients[source].execute_command("CLUSTER SETSLOT", slot, "MIGRATING", self.names[to])

    def close(self) -> None:
        for client in self.clients:
            client.close()


def _ranges(slots: Any) -> Any:
    return [(part[0], part[-1]) for part in slots if part]


@pytest.fixture
def moving() -> Iterator[tuple[str, Nodes]]:
    """A cluster of this test's own, since its slots are moved about."""
    with fresh_cluster() as url:
        nodes = Nodes(url)
        yield url, nodes
        nodes.close()


def test_a_slot_that_moves_is_followed(moving: tuple[str, Nodes]) -> None:
    url, nodes = moving
    slot = key_slot(b"{moves}")
    for blocking in (False, True):
        backend = RedisBackend.from_url(url, cluster=True, blocking=blocking)
        cells = backend.states.cells(Space(space(), IntegersCodec(), group="moves"))

        async def play(backend: RedisBackend = backend, cells: Any = cells) -> None:
            async with backend:
                assert await cells.transact("a", Count(script=True)) == 1
                await cells.delete("a")
                source = nodes.owner(slot)
                to = (source + 1) % 3
                # While it is on its way, a key that is not there yet is asked for over there, this once.
                nodes.begin_to_give(slot, source, to)
                assert await cells.transact("b", Count(script=True)) == 1
                assert await cells.transact("b", Count(script=False)) == 2
                assert nodes.clients[source].execute_command("CLUSTER COUNTKEYSINSLOT", slot) == 0
                nodes.give(slot, to)
                for count in (3, 4, 5):
                    assert await cells.transact("b", Count(script=count % 2 == 0)) == count
                await cells.delete("b")

        run("blocking" if blocking else "asyncio", play)


def test_a_step_waits_for_cells_that_are_on_their_way(moving: tuple[str, Nodes]) -> None:
    url, nodes = moving
    slot = key_slot(b"{moves}")

    async def play() -> None:
        async with RedisBackend.from_url(url, cluster=True) as backend:
            cells = backend.states.cells(Space(space(), IntegersCodec(), group="moves"))
            assert await cells.transact("a", Count(script=True)) == 1
            source = nodes.owner(slot)
            to = (source + 1) % 3
            nodes.begin_to_give(slot, source, to)
            # One cell is still here, the other would be over there: the node says TRYAGAIN.
            step = asyncio.ensure_future(cells.transact_many(["a", "b"], CountAll(script=True)))
            await asyncio.sleep(0.02)
            assert not step.done()
            [key] = nodes.clients[source].execute_command("CLUSTER GETKEYSINSLOT", slot, 10)
            port = nodes.clients[to].connection_pool.connection_kwargs["port"]
            nodes.clients[source].execute_command("MIGRATE", "127.0.0.1", port, key, 0, 5000)
            nodes.give(slot, to)
            assert await step == [2, 1]

    asyncio.run(play())


def test_a_cluster_that_is_down_and_up_again(moving: tuple[str, Nodes]) -> None:
    url, nodes = moving
    slot = key_slot(b"{moves}")

    async def play() -> None:
        async with RedisBackend.from_url(url, cluster=True) as backend:
            cells = backend.states.cells(Space(space(), IntegersCodec(), group="moves"))
            owner = nodes.owner(slot)
            for client in nodes.clients:
                client.execute_command("CLUSTER DELSLOTS", slot)
            with pytest.raises(BackendUnavailable, match="slot"):
                await cells.transact("a", Count(script=True))
            for client in nodes.clients:
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", nodes.names[owner])
            assert await cells.transact("a", Count(script=True)) == 1
            nodes.clients[owner].execute_command("CLUSTER DELSLOTS", slot)
            with pytest.raises(BackendUnavailable):
                await cells.transact("a", Count(script=True))

    asyncio.run(play())


@pytest.mark.parametrize("is_seed", [True, False])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_node_that_is_gone_is_named(moving: tuple[str, Nodes], runtime: RuntimeName, is_seed: bool) -> None:
    url, nodes = moving
    backend = RedisBackend.from_url(url, cluster=True, blocking=runtime == "blocking", timeout_s=1.0)
    seed_port = int(url.rsplit(":", 1)[1])
    ports = [client.connection_pool.connection_kwargs["port"] for client in nodes.clients]
    victim = next(place for place, port in enumerate(ports) if (port == seed_port) is is_seed)
    group = next(f"g{n}" for n in range(1000) if nodes.owner(key_slot(b"g%d" % n)) == victim)
    cells = backend.states.cells(Space(space(), IntegersCodec(), group=group))

    async def play() -> None:
        async with backend:
            assert await cells.transact("a", Count(script=True)) == 1
            nodes.clients[victim].config_set("cluster-require-full-coverage", "no")
            with pytest.raises(redis.ConnectionError):
                nodes.clients[victim].execute_command("SHUTDOWN", "NOSAVE", "NOW")
            if runtime == "asyncio":
                await asyncio.sleep(0.05)
            with pytest.raises(BackendUnavailable, match=f"{ports[victim]}"):
                await cells.transact("a", Count(script=True))

    run(runtime, play)
