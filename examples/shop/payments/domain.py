"""A payment's life, and the double-entry lines it leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

ASKED, CHARGED, DECLINED, ABSENT, REFUNDED = "asked", "charged", "declined", "absent", "refunded"
SETTLED = frozenset({DECLINED, ABSENT, REFUNDED})
CHARGE_BUDGET_S = 3.0
PROVIDER_BOOKS_WITHIN_S = 10.0
WELCOME = ("WELCOME", 100, 500)  # a coupon that every shop has: its code, its uses, what it takes off
DOUBT_S = CHARGE_BUDGET_S + PROVIDER_BOOKS_WITHIN_S + 2.0


@dataclass(frozen=True, slots=True)
class Card:
    """A card on its way to the provider; its numbers show up in no repr."""

    number: str = field(repr=False)
    expiry: str = field(repr=False)
    cvc: str = field(repr=False)


class Payment(NamedTuple):
    """What payments knows of one order's money.

    asked → charged → refunded; asked → declined; asked → absent, once the provider can no longer have booked it.
    `wanted` turns false when the order is undone: a charge that turns up afterwards is refunded.
    """

    order_id: str
    amount_minor: int
    state: str
    wanted: bool
    charge_id: str | None
    asked_at_us: int


class Entry(NamedTuple):
    """One side of a booking."""

    order_id: str
    kind: str
    account: str
    amount_minor: int


def entries(order_id: str, kind: str, amount_minor: int) -> tuple[Entry, Entry]:
    """The two sides of a charge or a refund; their sum is zero."""
    sign = 1 if kind == "charge" else -1
    return (
        Entry(order_id, kind, "provider", sign * amount_minor),
        Entry(order_id, kind, "sales", -sign * amount_minor),
    )


def out_of_doubt(payment: Payment, now_us: int) -> bool:
    """Whether a charge that is not in the provider's book will never be there."""
    return now_us - payment.asked_at_us > DOUBT_S * 1_000_000
