"""What is known of a paid order, and what follows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sdpatterns.messaging.cloudevents import CloudEvent
from shop.validation import FieldError, Fields, InvalidInput

MAIL, INVOICE, SHIPMENT, SELLER, RETURN = "mail", "invoice", "shipment", "seller", "return"
_ORDER_PAID = "order.paid"


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenOrder:
    """A paid order as its event told of it."""

    order_id: str
    placed_at_us: int
    email: str = field(repr=False)
    address: Mapping[str, str] = field(repr=False)
    items: Sequence[Mapping[str, Any]]
    total_minor: int
    currency: str

    @property
    def pieces(self) -> int:
        """How many pieces the parcel has."""
        return sum(int(item["quantity"]) for item in self.items)


class Done(NamedTuple):
    """Something that followed an order, and is done."""

    what: str
    detail: str
    at_us: int


def taken(event: CloudEvent) -> TakenOrder:
    """The order that an event tells of; InvalidInput for any other event."""
    if event.type != _ORDER_PAID:
        raise InvalidInput(FieldError("/type", f"must be {_ORDER_PAID}"))
    fields = Fields(event.data)
    order = TakenOrder(
        order_id=fields.slug("order_id"),
        placed_at_us=fields.whole("placed_at_us", 0, 2**62),
        email=fields.text("email", length_max=254),
        address=_mapping(event.data, "address"),
        items=_items(event.data),
        total_minor=fields.whole("total_minor", 0, 10**12),
        currency=fields.text("currency", length_max=3),
    )
    fields.done()
    return order


def _mapping(data: Any, name: str) -> dict[str, str]:
    found = data.get(name)
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, Mapping) else {}


def _items(data: Any) -> list[dict[str, Any]]:
    names = ("sku", "title", "quantity", "price_minor")
    return [{name: item[name] for name in names} for item in data.get("items", [])]


def letter(order: TakenOrder) -> dict[str, Any]:
    """The confirmation of an order as the mail server wants it."""
    lines = ", ".join(f"{item['quantity']} x {item['title']}" for item in order.items)
    text = f"Thank you for your order of {lines}. Total: {order.total_minor / 100:.2f} {order.currency}."
    return {"order_id": order.order_id, "to": order.email, "subject": "Your order is paid", "text": text}
