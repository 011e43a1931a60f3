"""Carts: lines of a sku and a quantity, priced by the catalog of the moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

QUANTITY_MAX = 999
LINES_MAX = 100
TAKEN, SHARED, RETURNED = "taken", "shared", "returned"


class Line(NamedTuple):
    """A wish for some pieces of one product."""

    sku: str
    quantity: int


class Taking(NamedTuple):
    """An order that takes what is in a cart."""

    order_id: str
    cart_id: str
    placed_at_us: int


def priced(cart_id: str, lines: Sequence[Line], products: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The cart with today's titles and prices; a product that is gone is left out of it."""
    items = [_priced_line(line, products[line.sku]) for line in lines if line.sku in products]
    return {
        "cart_id": cart_id,
        "items": items,
        "total_minor": sum(item["line_minor"] for item in items),
        "currency": items[0]["currency"] if items else "EUR",
    }


def _priced_line(line: Line, product: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "sku": line.sku,
        "title": product["title"],
        "maker": product["maker"],
        "quantity": line.quantity,
        "price_minor": product["price_minor"],
        "line_minor": product["price_minor"] * line.quantity,
        "currency": product["currency"],
    }
