"""Orders as their events tell them, and the checkout a customer sends."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

from shop.validation import Fields

PENDING, PAID, UNDOING, FAILED, CANCELLED = "pending", "paid", "undoing", "failed", "cancelled"
BY_CUSTOMER = "cancelled-by-customer"  # the reason of an order that was paid before it was undone
BY_RETURN = "returned-by-customer"  # the same, when its parcel had been sent
CART_IN_USE = "cart-in-use"  # the reason of an order that found its cart taken by another one
INTERRUPTED = "interrupted"  # the reason of an order that was not given up, and whose steps were undone all the same
CHECKOUT_S = 5.0

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s.]+(\.[^@\s.]+)+")
_COUNTRY = re.compile(r"[A-Z]{2}")
_NUMBER = re.compile(r"[0-9]{12,19}")
_EXPIRY = re.compile(r"(0[1-9]|1[0-2])/[0-9]{2}")
_CVC = re.compile(r"[0-9]{3,4}")


@dataclass(frozen=True, slots=True)
class Line:
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


@dataclass(frozen=True, slots=True)
class OrderPlaced:
    """A customer wants what is in a cart. The e-mail and the address are kept apart from the events."""

    order_id: str
    client_key: str
    cart_id: str
    lines: tuple[Line, ...]
    total_minor: int
    currency: str
    placed_at_us: int
    coupon: str = ""
    discount_minor: int = 0


@dataclass(frozen=True, slots=True)
class OrderPaid:
    """It is charged, and its pieces are sold."""

    at_us: int


@dataclass(frozen=True, slots=True)
class OrderGivenUp:
    """It will not be paid: what was done of it is being undone."""

    reason: str
    at_us: int


@dataclass(frozen=True, slots=True)
class OrderFailed:
    """Nothing is left of an order that was given up."""

    at_us: int


@dataclass(frozen=True, slots=True)
class OrderTakenBack:
    """Its customer cancelled it after it was paid, or sent it back: it is being refunded."""

    at_us: int
    reason: str = BY_CUSTOMER


@dataclass(frozen=True, slots=True)
class OrderCancelled:
    """It is refunded, and its pieces are free again."""

    at_us: int


OrderEvent: TypeAlias = OrderPlaced | OrderPaid | OrderGivenUp | OrderFailed | OrderTakenBack | OrderCancelled


class Pay(NamedTuple):
    """Declare an order paid."""

    at_us: int


class GiveUp(NamedTuple):
    """Decide that an order will not be paid."""

    reason: str
    at_us: int


class TakeBack(NamedTuple):
    """Cancel a paid order."""

    reason: str
    at_us: int


class Close(NamedTuple):
    """Declare that nothing is left of an order."""

    at_us: int


Command: TypeAlias = OrderPlaced | Pay | GiveUp | TakeBack | Close


@dataclass(frozen=True, slots=True)
class Order:
    """An order, as its events add up; without a status there is none.

    pending → paid, or pending → undoing → failed, or paid → undoing → cancelled; nothing else.
    It was decided when it was paid or given up, and a cancellation later does not change that.
    """

    order_id: str = ""
    client_key: str = ""
    cart_id: str = ""
    status: str = ""
    total_minor: int = 0
    currency: str = ""
    reason: str = ""
    placed_at_us: int = 0
    decided_at_us: int | None = None
    coupon: str = ""
    discount_minor: int = 0
    since_us: int = 0
    lines: tuple[Line, ...] = ()

    @property
    def is_cancelled(self) -> bool:
        """Whether it was paid and its customer took it back, done with or not."""
        return self.reason in (BY_CUSTOMER, BY_RETURN)


def decide(order: Order, command: Command) -> Sequence[OrderEvent]:
    """The events that a command leads to: none where it comes too late, or again."""
    events: list[OrderEvent] = []
    match order.status, command:
        case "", OrderPlaced():
            events = [command]
        case "pending", Pay(at_us):
            events = [OrderPaid(at_us)]
        case "pending", GiveUp(reason, at_us):
            events = [OrderGivenUp(reason, at_us)]
        case "paid", TakeBack(reason, at_us):
            events = [OrderTakenBack(at_us, reason)]
        case "pending", Close(at_us):
            events = [OrderGivenUp(INTERRUPTED, at_us), OrderFailed(at_us)]
        case "undoing", Close(at_us):
            events = [OrderCancelled(at_us) if order.is_cancelled else OrderFailed(at_us)]
    return events


def evolve(order: Order, event: OrderEvent) -> Order:
    """The order after an event."""
    match event:
        case OrderPlaced():
            known = {name: getattr(event, name) for name in event.__dataclass_fields__}
            return Order(**known, status=PENDING, since_us=event.placed_at_us)
        case OrderPaid(at_us):
            return replace(order, status=PAID, since_us=at_us, decided_at_us=at_us)
        case OrderGivenUp(reason, at_us):
            return replace(order, status=UNDOING, reason=reason, since_us=at_us, decided_at_us=at_us)
        case OrderTakenBack(at_us, reason):
            return replace(order, status=UNDOING, reason=reason, since_us=at_us)
        case OrderFailed(at_us):
            return replace(order, status=FAILED, since_us=at_us)
        case OrderCancelled(at_us):
            return replace(order, status=CANCELLED, since_us=at_us)


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


def news(order: Order, contact: Mapping[str, Any]) -> PaidOrder:
    """A paid order with whom it is for."""
    whom = (contact["email"], contact["address"])
    paid_at_us = order.decided_at_us or 0
    return PaidOrder(
        order.order_id, order.placed_at_us, paid_at_us, *whom, order.lines, order.total_minor, order.currency
    )


class Step(NamedTuple):
    """A line of an order's history."""

    step: str
    state: str
    at_us: int


def pieces(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """What to take and to reserve for an order."""
    return [{"sku": line.sku, "quantity": line.quantity} for line in lines]


def items(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """The lines with all that is known of them."""
    return [asdict(line) for line in lines]


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
