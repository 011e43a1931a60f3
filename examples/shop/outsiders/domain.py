"""What an outsider is asked to take, and what stands in its books."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """Something that an outsider took: a message, a booking, the news of an order.

    `key` is the sender's, so that what is sent again is taken once.
    """

    key: str
    order_id: str
    party: str
    """For whom: a masked address, a country, a seller."""
    text: str
    at_us: int


class Visit(NamedTuple):
    """A line of the access book: a request came with a key for an order, and was answered well or not."""

    key: str
    order_id: str
    well: bool
    at_us: int


def masked(email: str) -> str:
    """An e-mail address that can be shown to anyone."""
    name, _, domain = email.partition("@")
    return f"{name[:1]}***@{domain}"
