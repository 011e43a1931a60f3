"""What the shop's first release wrote, as it still does beside this one during a deploy; and a reader without upcaster.

In version 1 of `order.placed` an order's total was an amount with decimals. Version 2 counts in minor units.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sdpatterns import EventSchema, EventType
from sdpatterns.messaging.schema import EventPart
from shop.stage.faults import OLDER, FaultInjector


@dataclass(frozen=True, slots=True)
class FirstOrderPlaced:
    """`order.placed` in version 1."""

    order_id: str
    client_key: str
    cart_id: str
    lines: tuple[dict[str, Any], ...]
    total: Decimal
    currency: str
    placed_at_us: int
    coupon: str = ""
    discount_minor: int = 0


_FIRST = EventSchema(EventType("order.placed", FirstOrderPlaced))


class SchemaBesideFirstRelease(EventSchema):
    """Today's schema; while the fault "older" is on, orders are written by the first release."""

    def __init__(self, injector: FaultInjector, *types: EventType) -> None:
        super().__init__(*types)
        self._injector = injector

    def dump(self, event: object) -> EventPart:
        """The event, in the form of the release that writes it."""
        part = super().dump(event)
        known = _FIRST.find(part.type)
        if known is None or not self._injector.strikes(OLDER, time.monotonic()):
            return part
        data = {name: value for name, value in part.data.items() if name != "total_minor"}
        return _FIRST.dump(FirstOrderPlaced(**data, total=Decimal(part.data["total_minor"]) / 100))


def without_upcaster(data: dict[str, Any]) -> dict[str, Any]:
    """A reader that takes what it knows by name; what is not there is nothing."""
    return {"total_minor": 0, **data}
