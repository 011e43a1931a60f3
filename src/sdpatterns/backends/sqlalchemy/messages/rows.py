"""What the rows of messages hold, and how they become what callers see."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from sdpatterns.backends.sqlalchemy.engine.texts import given_text, stored_text
from sdpatterns.core.codec import compact_json
from sdpatterns.ports.queue import Claimed, Complete, Message, Park, Parked, Requeue, Settlement, kept_reason

__all__ = [
    "BEHIND",
    "DUE",
    "LATER",
    "MARKER_US",
    "ClaimOrder",
    "Ending",
    "Extension",
    "LetterPage",
    "MessageRow",
    "Taken",
    "claimed",
    "ending",
    "in_turn",
    "microseconds",
    "parked",
    "row",
    "runs",
]

T = TypeVar("T")

DUE, LATER, BEHIND = 0, 1, 2
"""The states of a message: see `tables`."""

MARKER_US = 100_000
"""After how long a worker looks again whether the lock of a key is free."""


class MessageRow(NamedTuple):
    """A message to be published, as it is stored."""

    id: str
    key: str | None
    tenant: str
    delay_us: int
    rank_us: int
    payload: bytes
    headers: str | None
    replace: bool


class ClaimOrder(NamedTuple):
    """How many messages are wanted, for how long; tenants behind `after` have their turn first."""

    n: int
    lease_us: int
    after: str


class Taken(NamedTuple):
    """What one look for messages gave.

    `markers` are the ids and fences of markers among them, `tenant` the last one that had its turn. `wait_us` says
    how long until the next message is due, negative where one is due whose state does not say so yet, None where
    there is none. `share` is how many there could be of one tenant.
    """

    messages: list[Claimed]
    markers: list[tuple[str, int]]
    tenant: str
    wait_us: int | None
    share: int

    @property
    def is_more(self) -> bool:
        """Whether another look may find more: something stood in the way, or one tenant has more than its share."""
        if self.markers or (self.wait_us is not None and self.wait_us <= 0):
            return True
        counts = Counter([message.tenant for message in self.messages])
        return bool(counts) and max(counts.values()) >= self.share


class Extension(NamedTuple):
    """A claim whose lease is to end that long from now."""

    id: str
    fence: int
    lease_us: int


class Ending(NamedTuple):
    """A settlement as it is stored: `after_us` is for a requeue, `reason` for a dead letter."""

    id: str
    fence: int
    key: str | None
    after_us: int | None = None
    uncounted: int = 0
    payload: bytes | None = None
    headers: str | None = None
    reason: str | None = None
    keep_us: int = 0


class LetterPage(NamedTuple):
    """Which dead letters are wanted."""

    limit: int
    after: int


def microseconds(seconds: float) -> int:
    """Rounded to the nearest one."""
    return round(seconds * 1_000_000)


def row(message: Message) -> MessageRow:
    """The message as it is stored."""
    return MessageRow(
        stored_text(message.id),
        None if message.key is None else stored_text(message.key),
        stored_text(message.tenant),
        microseconds(message.delay_s),
        microseconds(message.rank_s),
        message.payload,
        _headers(message.headers),
        message.replace,
    )


def ending(settlement: Settlement, keep_us: int) -> Ending:
    """The settlement as it is stored."""
    was = settlement.claimed
    name, key = stored_text(was.id), None if was.key is None else stored_text(was.key)
    match settlement:
        case Complete():
            return Ending(name, was.fence, key)
        case Park(reason=reason):
            return Ending(name, was.fence, key, reason=kept_reason(reason), keep_us=keep_us)
        case Requeue(after_s=after_s, counts=counts, payload=payload, headers=headers):
            # None keeps the headers that are stored; an empty mapping has to be written, so it needs a text of its
            # own.
            told = None if headers is None else _headers(headers) or "{}"
            return Ending(name, was.fence, key, microseconds(after_s), int(not counts), payload, told)


def claimed(found: Sequence[Any]) -> Claimed:
    """From id, payload, headers, key, tenant, fence, attempt, published_us, leased_until_us."""
    name, payload, headers, key, tenant, fence, attempt, published_us, until_us = found
    return Claimed(
        given_text(name),
        bytes(payload),
        json.loads(headers) if headers else {},
        None if key is None else given_text(key),
        given_text(tenant),
        fence,
        attempt,
        published_us,
        until_us,
    )


def parked(found: Sequence[Any]) -> Parked:
    """From position, id, payload, headers, key, tenant, attempt, reason, published_us, parked_us."""
    position, name, payload, headers, key, tenant, attempt, reason, published_us, parked_us = found
    return Parked(
        position,
        given_text(name),
        bytes(payload),
        json.loads(headers) if headers else {},
        None if key is None else given_text(key),
        given_text(tenant),
        attempt,
        reason,
        published_us,
        parked_us,
    )


def in_turn(found: Sequence[tuple[str, T]], after: str) -> Sequence[tuple[str, T]]:
    """Tenants and what was found of them, in its order: one of each tenant in turn, those behind `after` first."""
    by_tenant: dict[str, list[tuple[str, T]]] = {}
    for each in found:
        by_tenant.setdefault(each[0], []).append(each)
    if len(by_tenant) < 2:
        return found
    # Tenants behind the last one served come first; False sorts before True.
    ring = sorted(by_tenant, key=lambda tenant: (tenant <= after, tenant))
    lines = [by_tenant[tenant] for tenant in ring]
    longest = max(map(len, lines), default=0)
    return [line[place] for place in range(longest) for line in lines if place < len(line)]


def _headers(headers: Mapping[str, str]) -> str | None:
    return compact_json(dict(headers)) if headers else None


def runs(rows: Sequence[MessageRow]) -> list[Sequence[MessageRow]]:
    """The rows in their order, parted so that each part replaces or does not, and has no id twice."""
    parts: list[list[MessageRow]] = []
    names: set[str] = set()
    for each in rows:
        # One statement cannot insert an id and replace it: the second of two equal ids needs a statement of its own.
        if not parts or each.id in names or parts[-1][0].replace != each.replace:
            parts.append([])
            names = set()
        parts[-1].append(each)
        names.add(each.id)
    return list(parts)
