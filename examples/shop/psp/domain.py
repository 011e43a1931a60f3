"""Cards and charges as the provider sees them."""

from __future__ import annotations

from typing import NamedTuple

DECLINED = {
    "4000000000000002": "card-declined",
    "4000000000009995": "insufficient-funds",
    "4000000000000069": "expired-card",
}
LATE_S = 4.0
BOOKED_WITHIN_S = 10.0  # a request is in the book by then, or never


class Charge(NamedTuple):
    """A line of the provider's book."""

    charge_id: str
    order_id: str
    amount_minor: int
    refunded_minor: int
    at: str


class Visit(NamedTuple):
    """A line of the provider's access book: a request came for an order, and was answered well or not."""

    order_id: str
    kind: str
    well: bool
    at_us: int
