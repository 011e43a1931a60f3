"""Cards, charges and faults as the provider sees them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, NamedTuple

from shop.values import Fields

DECLINED = {
    "4000000000000002": "card-declined",
    "4000000000009995": "insufficient-funds",
    "4000000000000069": "expired-card",
}
KINDS = ("fail", "slow", "hang", "late", "twice")
TTL_MAX_S = 600
LATE_S = 4.0
BOOKED_WITHIN_S = 10.0  # a request is in the book by then, or never


class Charge(NamedTuple):
    """A line of the provider's book."""

    charge_id: str
    order_id: str
    amount_minor: int
    refunded_minor: int
    at: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """How the provider misbehaves, for how many of the requests and for how long."""

    target: str
    kind: str
    percent: int
    ttl_s: int
    seed: int


def parse_fault(body: Any) -> Fault:
    """A fault from a JSON object; InvalidInput names what cannot be accepted."""
    fields = Fields(body)
    target, kind = fields.slug("target"), fields.slug("kind")
    if target != "psp":
        fields.refuse("target", "must be psp")
    if kind not in KINDS:
        fields.refuse("kind", f"must be one of {', '.join(KINDS)}")
    percent, ttl_s = fields.whole("percent", 1, 100), fields.whole("ttl_s", 1, TTL_MAX_S)
    seed = fields.whole("seed", 0, 2**31 - 1)
    fields.done()
    return Fault(target=target, kind=kind, percent=percent, ttl_s=ttl_s, seed=seed)


class Mood(NamedTuple):
    """What happens to one request."""

    kind: str
    booked: bool  # whether the charge is booked although the caller will not learn of it


class Moods:
    """The faults of the moment, decided by their seed; they heal by themselves.

    Keeps: the same fault and the same number of requests give the same moods.
    """

    def __init__(self) -> None:
        self._fault: Fault | None = None
        self._ends_s = 0.0
        self._chance = random.Random(0)

    def set(self, fault: Fault | None, now_s: float) -> None:
        """Begin a fault, or heal at once."""
        self._fault = fault
        if fault is not None:
            self._ends_s = now_s + fault.ttl_s
            self._chance = random.Random(fault.seed)

    def current(self, now_s: float) -> tuple[Fault, float] | None:
        """The fault that is on, with the seconds it has left."""
        if self._fault is not None and now_s >= self._ends_s:
            self._fault = None
        return None if self._fault is None else (self._fault, self._ends_s - now_s)

    def next(self, now_s: float) -> Mood:
        """The mood in which the next request is met."""
        active = self.current(now_s)
        if active is None or self._chance.randrange(100) >= active[0].percent:
            return Mood("well", booked=True)
        return Mood(active[0].kind, self._chance.random() < 0.5)
