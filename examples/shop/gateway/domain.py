"""How the shop's figures and words look to a person."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

_MONTHS = ("Jan", "Feb", "March", "April", "May", "June", "July", "Aug", "Sept", "Oct", "Nov", "Dec")
_SIGNS = {"EUR": "€", "GBP": "£", "USD": "$"}
_STATUS = {
    "paid": "Paid",
    "pending": "Being worked on",
    "undoing": "Being undone",
    "failed": "Not placed",
    "cancelled": "Cancelled",
}
_STEPS = {
    ("reserve", "begun"): "Setting the pieces aside",
    ("reserve", "done"): "Pieces set aside",
    ("charge", "begun"): "Asking the card's bank",
    ("charge", "done"): "Card charged",
    ("sell", "begun"): "Handing the pieces over",
    ("sell", "done"): "Pieces are yours",
    ("undo", "begun"): "Taking everything back",
    ("undo", "done"): "Everything taken back; nothing stays charged",
    ("cancel", "begun"): "You cancelled; the money is on its way back",
    ("cancel", "done"): "Refunded, and the pieces are free again",
}
_WAY = (("reserve", "Pieces set aside"), ("charge", "Card charged"), ("sell", "Pieces are yours"))
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
    back = next((name for name in ("cancel", "undo") if (name, "begun") in at), "")
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


def by_field(errors: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Field errors by the name the form gives the field."""
    return {error["pointer"].strip("/").replace("/", "_"): error["detail"] for error in errors}


def checkout_from_form(form: Mapping[str, str], cart_id: str) -> dict[str, Any]:
    """The checkout's JSON from a form's flat fields."""
    address = {name: form.get(f"address_{name}", "") for name in ("name", "line1", "city", "postcode")}
    address["country"] = form.get("address_country", "").upper()
    card = {name: form.get(f"card_{name}", "") for name in ("number", "expiry", "cvc")}
    written = _EXPIRY.fullmatch(card["expiry"])  # browsers fill in 12/2030, people type 1230
    if written:
        card["expiry"] = f"{written[1]}/{written[2]}"
    return {"cart_id": cart_id, "email": form.get("email", ""), "address": address, "card": card}
