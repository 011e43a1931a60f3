"""How the shop's figures and words look to a person."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

_MONTHS = ("Jan", "Feb", "March", "April", "May", "June", "July", "Aug", "Sept", "Oct", "Nov", "Dec")
_SIGNS = {"EUR": "€", "GBP": "£", "USD": "$"}
_STATUS = {
    "paid": "Paid",
    "pending": "In progress",
    "undoing": "Being cancelled",
    "failed": "Not placed",
    "cancelled": "Cancelled",
}
_STEPS = {
    ("take", "begun"): "Taking the products from your cart",
    ("take", "done"): "Products taken from your cart",
    ("reserve", "begun"): "Reserving the stock",
    ("reserve", "done"): "Stock reserved",
    ("charge", "begun"): "Charging the card",
    ("charge", "done"): "Card charged",
    ("sell", "begun"): "Confirming the order",
    ("sell", "done"): "Order confirmed",
    ("undo", "begun"): "Cancelling the order",
    ("undo", "done"): "Cancelled; nothing stays charged",
    ("cancel", "begun"): "You cancelled; the refund has started",
    ("cancel", "done"): "Refunded; the products are available again",
    ("return", "begun"): "You returned it; the refund has started",
    ("return", "done"): "Refunded; the products are available again",
}
_WAY = (("reserve", "Stock reserved"), ("charge", "Card charged"), ("sell", "Order confirmed"))
_AFTER = {
    "mail": ("Confirmation sent", "Confirmation"),
    "invoice": ("Invoice {}", "Invoice"),
    "shipment": ("Parcel {} booked", "Parcel"),
}
_SHIPPING = timedelta(days=2)
# What a customer is asked to do about a field, in place of what the API says of it to programs.
_MISTAKES = {
    "email": "Enter an address like name@example.com.",
    "address_name": "Enter the name of the recipient.",
    "address_line1": "Enter the street and the number.",
    "address_postcode": "Enter the postcode.",
    "address_city": "Enter the city.",
    "address_country": "Choose a country.",
    "card_number": "Check the card number: most have 16 digits.",
    "card_expiry": "Enter month and year, like 12/30.",
    "card_cvc": "Enter the 3 or 4 digits of the security code.",
    "author": "Enter your first name, up to 40 characters.",
    "stars": "Choose 1 to 5 stars.",
    "text": "Write a few words, up to 600 characters.",
}
_MORE_EXACTLY = {
    "is in the past": "This card has expired.",
    "must not contain a card number": "Do not enter a card number here.",
    "must not contain control characters": "Remove the special characters.",
}
_EXPIRY = re.compile(r"\s*(\d{2})\s*[/.-]?\s*(?:20)?(\d{2})\s*", re.ASCII)


def money(amount_minor: int, currency: str = "EUR") -> str:
    """An amount in minor units as people write it."""
    sign = "−" if amount_minor < 0 else ""
    major, minor = divmod(abs(amount_minor), 100)
    return f"{sign}{_SIGNS.get(currency, currency + ' ')}{major:,}.{minor:02d}"


def status_words(status: str) -> str:
    """An order's status in words."""
    return _STATUS.get(status, status)


def step_words(step: Mapping[str, str]) -> str:
    """A line of an order's history in words."""
    return _STEPS.get((step["step"], step["state"]), f"{step['step']} {step['state']}")


def clock(instant: str) -> str:
    """The time of day of an ISO 8601 instant."""
    return f"{instant[11:16]} UTC"


def day(instant: str) -> str:
    """The date of an ISO 8601 instant, written out."""
    year, month, number = instant[:10].split("-")
    return f"{int(number)} {_MONTHS[int(month) - 1]} {year}"


class Stop(NamedTuple):
    """A stop on an order's way: what it says, whether it is behind us, before us, or where we are."""

    label: str
    state: str
    at: str


def way(history: Sequence[Mapping[str, str]]) -> list[Stop]:
    """The stops of an order in the order they come, and the way back where it took that."""
    at = {(step["step"], step["state"]): step["at"] for step in history}
    back = next((name for name in ("cancel", "return", "undo") if (name, "begun") in at), "")
    stops = []
    for name, label in _WAY:
        if (name, "done") in at:
            stops.append(Stop(label, "done", at[name, "done"]))
        elif not back:
            stops.append(Stop(label, "now" if (name, "begun") in at else "ahead", ""))
    if back:
        label = _STEPS[back, "done"]
        stops.append(Stop(_STEPS[back, "begun"], "back", at[back, "begun"]))
        stops.append(Stop(label, "done" if (back, "done") in at else "now", at.get((back, "done"), "")))
    return stops


def follow_ups(followed: Mapping[str, Any]) -> list[Stop]:
    """The stops behind the payment, each done or to come in a moment; none where nothing is known of them."""
    if not followed:
        return []
    stops = []
    for what, (label, ahead) in _AFTER.items():
        done = followed[what]
        at = done["at"] if done else ""
        stops.append(Stop(label.format(done["detail"]) if done else ahead, "done" if done else "now", at))
    sellers = followed["sellers"]
    if sellers:
        names = ", ".join(sorted({seller["detail"] for seller in sellers}))
        stops.insert(2, Stop(f"News to the makers: {names}", "done", max(seller["at"] for seller in sellers)))
    return stops


def ships_by(placed_at: str) -> str:
    """The date by which an order of this instant is shipped, written out."""
    return day((datetime.fromisoformat(placed_at) + _SHIPPING).isoformat())


def products_words(order: Mapping[str, Any]) -> str:
    """The products of an order in one line: the first by its title, the others as a number."""
    first, *others = order["items"]
    line = f"{first['quantity']} × {first['title']}"
    return f"{line} and {len(others)} more" if others else line


def by_field(errors: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """What to tell the customer about each field, by the name the form gives the field."""
    found = {error["pointer"].strip("/").replace("/", "_"): error["detail"] for error in errors}
    return {name: _mistake(name, detail) for name, detail in found.items()}


def _mistake(name: str, detail: str) -> str:
    if detail.startswith("must have at most"):
        return f"Shorten this: it {detail}."
    return _MORE_EXACTLY.get(detail) or _MISTAKES.get(name, f"This {detail}.")


def checkout_from_form(form: Mapping[str, str], cart_id: str) -> dict[str, Any]:
    """The checkout's JSON from a form's flat fields."""
    address = {name: form.get(f"address_{name}", "") for name in ("name", "line1", "city", "postcode")}
    address["country"] = form.get("address_country", "").upper()
    card = {name: form.get(f"card_{name}", "") for name in ("number", "expiry", "cvc")}
    written = _EXPIRY.fullmatch(card["expiry"])  # browsers fill in 12/2030, people type 1230
    if written:
        card["expiry"] = f"{written[1]}/{written[2]}"
    return {"cart_id": cart_id, "email": form.get("email", ""), "address": address, "card": card}
