"""Queues and logs on a caller's transaction without savepoints: fewer statements, and still all or nothing."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncConnection

from sdpatterns.errors import VersionConflict
from sdpatterns.ports.log import NewEvent
from sdpatterns.ports.queue import Message
from tests.backends.everywhere import unique
from tests.messaging.outbox_world import World, outbox_world

world = outbox_world
pytestmark = pytest.mark.anyio


async def written(world: World, connection: AsyncConnection, name: str, **how: bool) -> None:
    view = world.backend.within(connection, **how)
    await view.log(name).append("s-1", 0, [NewEvent(id="a", type="placed", data=b"")])
    await view.queue(name).publish([Message(id="m-1", payload=b"")])


async def test_a_savepoint_for_each_request_is_left_out(world: World) -> None:
    asked: Counter[str] = Counter()

    def count(connection: Connection, savepoint: str) -> None:
        asked["savepoint"] += 1

    event.listen(world.engine.sync_engine, "savepoint", count)
    for how, expected in (({}, 2), ({"savepoints": False}, 0)):
        asked.clear()
        name = unique("orders")
        async with world.engine.begin() as connection:
            await written(world, connection, name, **how)
        assert asked["savepoint"] == expected
        assert (await world.backend.log(name).read("s-1", 0, 10)).version == 1
        assert (await world.backend.queue(name).depth()).due == 1


async def test_what_is_refused_ends_the_transaction_and_leaves_nothing(world: World) -> None:
    name = unique("orders")

    async def twice() -> Any:
        async with world.engine.begin() as connection:
            await written(world, connection, name, savepoints=False)
            log = world.backend.within(connection, savepoints=False).log(name)
            await log.append("s-1", 0, [NewEvent(id="b", type="placed", data=b"")])

    with pytest.raises(VersionConflict):
        await twice()
    assert (await world.backend.log(name).read("s-1", 0, 10)).version == 0
    assert (await world.backend.queue(name).depth()).due == 0
