"""A choreography without an event loop: services are threads, and handlers are async functions all the same."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import pytest

from sdpatterns.blocking import blocking
from sdpatterns.messaging.choreography import Choreography, ChoreographyService, EventTurn
from sdpatterns.messaging.schema import EventSchema, EventType
from tests.backends.everywhere import opened_blocking, unique

PATIENCE_S = 60.0


@dataclasses.dataclass(frozen=True)
class Placed:
    order: str


@dataclasses.dataclass(frozen=True)
class Reserved:
    order: str


SCHEMA = EventSchema(EventType("order.placed", Placed), EventType("stock.reserved", Reserved))


@pytest.mark.parametrize("kind", ["memory", "valkey", "postgres"])
def test_services_hand_on_to_each_other(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> None:
    with opened_blocking(request, kind, tmp_path) as backend:
        shop: Choreography[None] = Choreography(unique("shop"), backend=backend, schema=SCHEMA)
        done, heard = threading.Event(), list[str]()

        @shop.on(Placed, by="stock", publishes=(Reserved,))
        async def reserve(event: Placed, turn: EventTurn[None]) -> Reserved:
            return Reserved(event.order)

        @shop.on(Reserved, by="payments")
        async def charge(event: Reserved, turn: EventTurn[None]) -> None:
            heard.append(f"{event.order} {turn.cause.subject}")
            done.set()

        with blocking(ChoreographyService(shop, "stock")), blocking(ChoreographyService(shop, "payments")):
            blocking(shop).publish(Placed("o-1"), id="a", subject="o-1")
            assert done.wait(PATIENCE_S)
        assert heard == ["o-1 o-1"]
