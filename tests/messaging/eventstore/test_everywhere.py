"""The same answers on each backend that keeps logs."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from sdpatterns.messaging.eventstore import EventStore
from sdpatterns.messaging.projection import Projection
from sdpatterns.ports.log import ANY
from tests.backends.everywhere import PATIENCE_S, opened, unique
from tests.messaging.eventstore.shop_events import ORDERS, SCHEMA, Cipher, Named, Order, Pay, Place
from tests.messaging.outbox_world import World, outbox_world

world = outbox_world
pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", "sqlite", "postgres", "valkey", "nats"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    async with opened(request, request.param, tmp_path) as found:
        yield found


async def test_a_command_may_be_decided_in_the_callers_transaction(world: World) -> None:
    store = EventStore(unique("shop"), backend=world.backend, schema=SCHEMA, cipher=Cipher(is_async=True))
    await store.run(ORDERS, "1", Place(3))
    async with AsyncSession(world.engine) as session:
        for end, state in ((session.rollback, (Order(3), 1)), (session.commit, (Order(0), 3))):
            view = world.backend.within(session)
            first = await store.run(ORDERS, "1", Place(4), within=view)
            paid = await store.run(ORDERS, "1", Pay(7), within=view)
            assert (first.state, paid.state, paid.version) == (Order(7), Order(0), 3), "it sees its own events"
            await end()
            assert (await store.state(ORDERS, "1"))[:2] == state


async def test_commands_on_one_aggregate_at_once_are_all_decided_and_a_projection_sees_each_once(backend: Any) -> None:
    cipher = Cipher(is_async=True)
    store = EventStore(unique("shop"), backend=backend, schema=SCHEMA, cipher=cipher)
    orders = dataclasses.replace(ORDERS, snapshot_every=4)
    seen: list[tuple[str, int]] = []
    async with Projection(store.name, store, lambda it: seen.append(it[1:3]), backend=backend) as projection:
        await store.append("order/2", ANY, [Named("c-1", "Ada")])
        async with anyio.create_task_group() as group:
            for command in (Place(3), Place(4), Place(5), Pay(0), Place(6)):
                group.start_soon(store.run, orders, "1", command)
        paid = await store.run(orders, "1", Pay(18))
        assert (paid.state, paid.version) == (Order(0), 5)
        await projection.caught_up(paid.position, PATIENCE_S)
    assert sorted(seen) == [("order/1", version) for version in range(1, 6)] + [("order/2", 1)]
    assert (await store.state(orders, "1"))[:2] == (Order(0), 5)
    cipher.forget("c-1")
    assert (await store.state(orders, "2")).state == Order(0, ("(deleted)",))
