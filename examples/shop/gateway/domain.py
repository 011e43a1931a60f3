"""How the shop's figures and words look to a person."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

_SIGNS = {"EUR": "€", "GBP": "£", "USD": "$"}
_STATUS = {
    "paid": "Paid",
    "pending": "Being worked on",
    "undoing": "Being undone",
    "failed": "Not placed",
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
}


def money(amount_minor: int, currency: str = "EUR") -> str:
    """An amount in minor units as people write it."""
    sign = "−" if amount_minor < 0 else ""
    major, minor = divmod(abs(amount_minor), 100)
    return f"{sign}{_SIGNS.get(currency, currency + ' ')}{major:,}.{minor:02d}"


def hue(sku: str) -> int:
    """A colour of its own for each product, the same on every page."""
    return zlib.crc32(sku.encode()) % 360


def status_words(status: str) -> str:
    """An order's status in words."""
    return _STATUS.get(status, status)


def step_words(step: Mapping[str, str]) -> str:
    """A line of an order's history in words."""
    return _STEPS.get((step["step"], step["state"]), f"{step['step']} {step['state']}")


def by_field(errors: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Field errors by the name the form gives the field."""
    return {error["pointer"].strip("/").replace("/", "_"): error["detail"] for error in errors}


def checkout_from_form(form: Mapping[str, str], cart_id: str) -> dict[str, Any]:
    """The checkout's JSON from a form's flat fields."""
    address = {name: form.get(f"address_{name}", "") for name in ("name", "line1", "city", "postcode")}
    address["country"] = form.get("address_country", "").upper()
    card = {name: form.get(f"card_{name}", "") for name in ("number", "expiry", "cvc")}
    return {"cart_id": cart_id, "email": form.get("email", ""), "address": address, "card": card}
