"""Hazard 23: every reader of an event store gets events of the newest version, projections too."""

from __future__ import annotations

from typing import Any

import pytest

from sdpatterns.messaging.eventstore import EventStore, StoredEvent
from sdpatterns.messaging.projection import Projection
from sdpatterns.ports.log import NewEvent
from tests.backends.everywhere import each_backend_with_logs, unique
from tests.messaging.eventstore.shop_events import ORDERS, SCHEMA, Cipher, Order, Pay, Placed

backend = each_backend_with_logs
pytestmark = pytest.mark.anyio


async def test_an_event_of_an_earlier_release_is_read_as_the_newest_by_every_reader(backend: Any) -> None:
    store = EventStore(unique("shop"), backend=backend, schema=SCHEMA, cipher=Cipher(is_async=False))
    old = NewEvent(id="e-1", type="Placed", data=b'1:{"order":"1","euros":3}', metadata={"schema-version": "1"})
    await store.log.append("order/1", 0, [old])
    newest = [Placed("1", 300)]
    assert [it.event for it in (await store.load("order/1")).events] == newest
    assert [it.event for it in (await store.read_all()).events] == newest
    async with store.subscribe() as events:
        assert [(await anext(events)).event] == newest
    assert await store.state(ORDERS, "1") == (Order(300), 1, 1)

    projected: list[object] = []

    async def apply(stored: StoredEvent) -> None:
        projected.append(stored.event)

    await Projection(unique("list"), store, apply, backend=backend).run_due()
    assert projected == newest
    assert (await store.run(ORDERS, "1", Pay(299))).state == Order(1)
