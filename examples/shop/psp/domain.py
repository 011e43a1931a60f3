"""Cards, charges and faults as the provider sees them."""

from __future__ import annotations

from typing import Any, NamedTuple

from shop.faults import Fault, parse

DECLINED = {
    "4000000000000002": "card-declined",
    "4000000000009995": "insufficient-funds",
    "4000000000000069": "expired-card",
}
KINDS = ("fail", "slow", "hang", "late", "twice")
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
    """A line of the provider's access book: somebody came for an order, and was answered well or not."""

    order_id: str
    kind: str
    well: bool
    at_us: int


def parse_fault(body: Any) -> Fault:
    """A fault of the provider from a JSON object; InvalidInput names what cannot be accepted."""
    return parse(body, "psp", KINDS)
