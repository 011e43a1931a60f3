"""Harm, judged from outside: the ledgers, the provider's books and the answers that clients saw.

Nothing in the shop counts harm where it is done. A judge gets what happened since a switch was changed and says
whom it hurt; with the defence on, each of these is zero by what the defence promises, not by good luck.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

PAYMENT_FAILED = frozenset({"payment-uncertain", "payment-unavailable"})
KNOWN_DOWN_AFTER = 5
TRIES_KNOWN = 7  # more often than a webhook is tried before it becomes a dead letter
JUDGED_AFTER_S = 40.0  # nothing that arrived so long ago is still without an answer

_EVENTS = {"order.placed": 0, "order.paid": 1, "order.given-up": 2, "order.taken-back": 2}
_STATUSES = {"pending": 0, "paid": 1, "undoing": 2}
_ENDED = 3  # each order comes to a higher one with each of its events

Order = Mapping[str, Any]


class Logged(NamedTuple):
    """What the log says of an order: when it was placed, in which version of the event, and its last event."""

    placed_us: int
    version: int
    event: str


class Visit(NamedTuple):
    """A line of the provider's access book."""

    order_id: str
    kind: str
    well: bool
    at_us: int


def charged_twice(orders: Iterable[Order], charged: Mapping[str, int]) -> int:
    """Orders beyond the first under one customer's key that the provider's book shows charged."""
    times = Counter(order["client_key"] for order in orders if charged.get(order["order_id"], 0) > 0)
    return sum(number - 1 for number in times.values())


def paid_for_nothing(orders: Iterable[Order], charged: Mapping[str, int]) -> int:
    """Orders that have failed for good and that the provider's book shows charged."""
    return sum(order["status"] == "failed" and charged.get(order["order_id"], 0) > 0 for order in orders)


def misread(orders: Iterable[Order], charged: Mapping[str, int]) -> int:
    """Paid orders with another total than the provider's book shows charged."""
    paid = {order["order_id"]: order["total_minor"] for order in orders if order["status"] == "paid"}
    return sum(charged.get(order_id, 0) not in (0, total_minor) for order_id, total_minor in paid.items())


def behind_the_log(logged: Mapping[str, Logged], tables: Mapping[str, Order], since_us: int) -> int:
    """Orders, placed since an instant, that the tables do not have as far as the log had them before."""
    placed = {order_id: entry for order_id, entry in logged.items() if entry.placed_us >= since_us}
    return sum(
        order_id not in tables or _STATUSES.get(tables[order_id]["status"], _ENDED) < _EVENTS.get(entry.event, _ENDED)
        for order_id, entry in placed.items()
    )


def paid_twice(payouts: Iterable[Mapping[str, Any]], since_us: int) -> int:
    """Payouts beyond the first to one seller in one night, among those that were ordered since an instant."""
    seen: set[tuple[int, str]] = set()
    twice = 0
    for row in payouts:
        if row["kind"] != "paid":
            continue
        one = (row["night"], row["seller"])
        twice += one in seen and row["at_us"] >= since_us
        seen.add(one)
    return twice


def overspent(orders: Iterable[Order], uses_max: Mapping[str, int], since_us: int) -> int:
    """Paid orders with a coupon that had no use left, among those that were placed since an instant."""
    used: dict[str, list[int]] = {}
    for order in orders:
        if order["coupon"] and order["status"] == "paid":
            used.setdefault(order["coupon"], []).append(order["placed_at_us"])
    beyond = [at_us for code, placed in used.items() for at_us in sorted(placed)[uses_max.get(code, 0) :]]
    return sum(at_us >= since_us for at_us in beyond)


def known_down_after(breakers: int, callers: int) -> int:
    """After how many failed orders each of so many breakers knows, however its callers' turns begin.

    One knows after five attempts, which three orders of two make. Each caller goes round all breakers, so that
    one of them may be behind by a turn of each caller. With a single breaker it is five orders, to be on the safe side.
    """
    return max(KNOWN_DOWN_AFTER, 3 * breakers + callers * (breakers - 1))


def kept_waiting(orders: Iterable[Order], visits: Iterable[Visit], known_after: int = KNOWN_DOWN_AFTER) -> int:
    """Orders that made the provider take two attempts or more although it was known to be down.

    It was known when `known_after` orders had failed for payment before this one was placed, and the provider
    had given no good answer since the first of them. A breaker that opens after five failures lets
    such an order make one attempt, as a probe, or none.
    """
    attempts: dict[str, list[int]] = {}
    well: list[int] = []
    for visit in visits:
        if visit.kind == "charge":
            attempts.setdefault(visit.order_id, []).append(visit.at_us)
        if visit.well:
            well.append(visit.at_us)
    well.sort()
    known = {order["order_id"]: order for order in orders}
    failed = sorted(
        (order["decided_at_us"], order["placed_at_us"])
        for order in known.values()
        if order["reason"] in PAYMENT_FAILED and order["decided_at_us"] is not None
    )
    return sum(
        order_id in known
        and len(at_us) >= 2
        and _known_down(known[order_id]["placed_at_us"], max(at_us), failed, well, known_after)
        for order_id, at_us in attempts.items()
    )


def _known_down(
    placed_us: int, until_us: int, failed: list[tuple[int, int]], well: list[int], known_after: int
) -> bool:
    """Whether enough failures ended before an instant, and no success lies between them and another one."""
    before = failed[: bisect_right(failed, (placed_us, placed_us))][-known_after:]
    if len(before) < known_after:
        return False
    since_us = min(placed for _decided, placed in before)
    return bisect_left(well, since_us) == bisect_right(well, until_us)


def unheard(paid: Iterable[Order], taken: Collection[str], undelivered: int) -> int:
    """Paid orders that were not taken on, beyond those that the outbox may still hold."""
    return max(0, sum(order["order_id"] not in taken for order in paid) - undelivered)


def doubled(orders: Iterable[Order], counts: Mapping[str, int]) -> int:
    """What a ledger has beyond the first of each order."""
    return sum(max(0, counts.get(order["order_id"], 0) - 1) for order in orders)


def held_up(paid: Iterable[Order], asked: Collection[str], refusals: Iterable[Sequence[int]]) -> int:
    """Paid orders that the mail server never heard of, though since they were paid another message was tried
    `TRIES_KNOWN` times and refused: no limit on attempts allows that.
    """
    endless_us = max((tries[-TRIES_KNOWN] for tries in refusals if len(tries) >= TRIES_KNOWN), default=0)
    waiting = [order["decided_at_us"] or endless_us for order in paid if order["order_id"] not in asked]
    return sum(decided_us < endless_us for decided_us in waiting)


class Served(NamedTuple):
    """One search that was served: the limiter decided at some moment between arrival and answer."""

    arrived_us: int
    answered_us: int


class Share:
    """How much more than its share one client got.

    In any window of t seconds a client's share is at most `burst + a_second * t`. A window is counted from the
    arrival of its first search to the latest answer in it, so that no doubt is ever to the shop's disadvantage.
    Keeps: zero for whatever an exact limiter of that rate has let pass, however long it took to say so.
    """

    def __init__(self, a_second: float, burst: int) -> None:
        self._each_us = 1e6 / a_second
        self._ahead_us = burst * self._each_us
        self._open: list[Served] = []
        self._settled = _Meter()

    def add(self, served: Served) -> None:
        """One more search that was served."""
        self._open.append(served)

    def beyond(self, now_us: int) -> int:
        """The searches served beyond the share; the fewest that would have had to be refused."""
        self._open.sort()
        final_us = now_us - int(JUDGED_AFTER_S * 1_000_000)
        settled = bisect_left(self._open, (final_us, 0))
        for served in self._open[:settled]:
            self._settled.take(served, self._each_us, self._ahead_us)
        del self._open[:settled]
        meter = self._settled.copy()
        for served in self._open:
            meter.take(served, self._each_us, self._ahead_us)
        return meter.beyond


class _Meter:
    """A bucket, drawn down by what was served: `full_us` is when all of it would be back."""

    def __init__(self, full_us: float = 0.0, latest_us: int = 0, beyond: int = 0) -> None:
        self.full_us = full_us
        self.latest_us = latest_us
        self.beyond = beyond

    def copy(self) -> _Meter:
        return _Meter(self.full_us, self.latest_us, self.beyond)

    def take(self, served: Served, each_us: float, ahead_us: float) -> None:
        full_us = max(self.full_us, served.arrived_us) + each_us
        latest_us = max(self.latest_us, served.answered_us)
        if full_us - ahead_us > latest_us:
            self.beyond += 1
        else:
            self.full_us, self.latest_us = full_us, latest_us
