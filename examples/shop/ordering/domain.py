"""Orders, the steps that lead to them, and the checkout a customer sends."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from shop.validation import Fields

PENDING, PAID, UNDOING, FAILED, CANCELLED = "pending", "paid", "undoing", "failed", "cancelled"
BY_CUSTOMER = "cancelled-by-customer"  # the reason of an order that was paid before it was undone
CART_IN_USE = "cart-in-use"  # the reason of an order that found its cart taken by another one
CHECKOUT_S = 5.0
ORPHANED_S = 15.0  # no process works on a pending order this old

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")
_COUNTRY = re.compile(r"[A-Z]{2}")
_NUMBER = re.compile(r"[0-9]{12,19}")
_EXPIRY = re.compile(r"(0[1-9]|1[0-2])/[0-9]{2}")
_CVC = re.compile(r"[0-9]{3,4}")


class Line(NamedTuple):
    """Some pieces of one product, and whose it is, at the price of the moment of ordering."""

    sku: str
    title: str
    maker: str
    quantity: int
    price_minor: int


@dataclass(frozen=True, slots=True)
class Checkout:
    """What a customer sends to buy a cart. The card passes through and is stored nowhere."""

    cart_id: str
    email: str
    address: Mapping[str, str]
    card: Mapping[str, str] = field(repr=False)
    coupon: str = ""


class Order(NamedTuple):
    """An order as it is stored.

    pending → paid, or pending → undoing → failed, or paid → undoing → cancelled; nothing else.
    `checkout_key` is what keeps a second order away, `client_key` is what the customer sent. It was
    decided when it was paid or given up, and a cancellation later does not change that.
    """

    order_id: str
    checkout_key: str
    client_key: str
    cart_id: str
    status: str
    total_minor: int
    currency: str
    reason: str
    placed_at_us: int
    decided_at_us: int | None = None
    coupon: str = ""
    discount_minor: int = 0

    @property
    def undone_as(self) -> str:
        """The status it gets when nothing of it is left."""
        return CANCELLED if self.reason == BY_CUSTOMER else FAILED

    @property
    def is_cancelled(self) -> bool:
        """Whether it was paid and its customer took it back, done with or not."""
        return self.reason == BY_CUSTOMER and self.status in (UNDOING, CANCELLED)


class PaidOrder(NamedTuple):
    """What others are told of an order that is paid: all they need, so that they ask nothing back."""

    order_id: str
    placed_at_us: int
    paid_at_us: int
    email: str
    address: Mapping[str, str]
    items: Sequence[Line]
    total_minor: int
    currency: str


class Step(NamedTuple):
    """A line of an order's journal."""

    step: str
    state: str
    at_us: int


def parse_checkout(body: Any, month_now: tuple[int, int]) -> Checkout:
    """A checkout from a JSON object; InvalidInput names every field at fault, never a value."""
    fields = Fields(body)
    cart_id = fields.slug("cart_id")
    email = fields.text("email", length_max=254, pattern=_EMAIL, hint="must be an e-mail address")
    address = _parse_address(fields.nested("address"))
    card = _parse_card(fields.nested("card"), month_now)
    coupon = fields.slug("coupon") if fields.has("coupon") else ""
    fields.done()
    return Checkout(cart_id, email, address, card, coupon)


def _parse_address(fields: Fields) -> dict[str, str]:
    address = {name: fields.text(name) for name in ("name", "line1", "city")}
    address["postcode"] = fields.text("postcode", length_max=16)
    address["country"] = fields.text("country", length_max=2, pattern=_COUNTRY, hint="must be two capital letters")
    return address


def _parse_card(fields: Fields, month_now: tuple[int, int]) -> dict[str, str]:
    number = fields.text("number", length_max=32, is_card=True).replace(" ", "").replace("-", "")
    expiry = fields.text("expiry", pattern=_EXPIRY, hint="must look like 12/30")
    cvc = fields.text("cvc", pattern=_CVC, hint="must be 3 or 4 digits")
    if not (_NUMBER.fullmatch(number) and luhn(number)):
        fields.refuse("number", "is not a card number")
    if _EXPIRY.fullmatch(expiry) and (2000 + int(expiry[3:]), int(expiry[:2])) < month_now:
        fields.refuse("expiry", "is in the past")
    return {"number": number, "expiry": expiry, "cvc": cvc}


def luhn(number: str) -> bool:
    """Whether the check digit of a card number is right (ISO/IEC 7812-1)."""
    digits = [int(digit) for digit in reversed(number)]
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def shares(lines: Sequence[Line]) -> dict[str, int]:
    """What each seller gets of an order."""
    found: dict[str, int] = {}
    for line in lines:
        found[line.maker] = found.get(line.maker, 0) + line.quantity * line.price_minor
    return found


def total(lines: Sequence[Line]) -> int:
    """The sum of all lines."""
    return sum(line.quantity * line.price_minor for line in lines)


def discount(lines: Sequence[Line], off_minor: int) -> int:
    """What a coupon takes off an order: never more than half of it."""
    return min(off_minor, total(lines) // 2)
