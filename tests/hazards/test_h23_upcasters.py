"""Hazard 23: every reader of an event store gets events of the newest version, projections too."""

from __future__ import annotations

import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.messaging.eventstore import EventStore
from sdpatterns.ports.log import NewEvent
from tests.messaging.eventstore.shop_events import ORDERS, SCHEMA, Cipher, Order, Pay, Placed

pytestmark = pytest.mark.anyio


async def test_an_event_of_an_earlier_release_is_read_as_the_newest_by_every_reader() -> None:
    store = EventStore("shop", backend=MemoryBackend(), schema=SCHEMA, cipher=Cipher(is_async=False))
    old = NewEvent(id="e-1", type="Placed", data=b'1:{"order":"1","euros":3}', metadata={"schema-version": "1"})
    await store.log.append("order/1", 0, [old])
    newest = [Placed("1", 300)]
    assert [it.event for it in (await store.load("order/1")).events] == newest
    assert [it.event for it in (await store.read_all()).events] == newest
    async with store.subscribe() as events:
        assert [(await anext(events)).event] == newest
    assert await store.state(ORDERS, "1") == (Order(300), 1, 1)
    assert (await store.run(ORDERS, "1", Pay(299))).state == Order(1)
