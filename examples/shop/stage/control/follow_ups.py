"""What follows paid orders, as the ledgers of fulfilment and the outsiders' own books tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shop.stage.control.domain import Verdict
from shop.stage.control.harm import TRIES_KNOWN, doubled, held_up, unheard
from shop.stage.control.ledgers import OVERLAP_US
from shop.stage.control.views import Reading, Row, changed_since, newer_than

LETTERS_SHOWN = 20
_BOOKS = {"fulfilment": "/internal/ledger", "mail": "/mail/v1/ledger", "carrier": "/carrier/v1/ledger"}
_COUNTED = {"fulfilment": "invoices", "mail": "entries", "carrier": "entries"}
_UNDELIVERED = ("due", "waiting", "leased", "parked")


class FollowUpBooks:
    """Every paid order beside its invoice, its confirmation and its parcel.

    Keeps: an order is called unheard of only if it was paid before the outbox was looked at, the outbox did not hold
    it, and fulfilment had not taken it on after that: so none that is only on its way.
    """

    def __init__(self) -> None:
        self._since_us = 0
        self._visited = {"mail": 0, "sellers": 0, "carrier": 0}
        self._numbers: Row = {}
        self.orders: Mapping[str, Row] = {}
        self.undelivered = 0
        self.counted: dict[str, dict[str, int]] = {keeper: {} for keeper in _BOOKS}
        self.asked: set[str] = set()
        self.refusals: dict[str, list[int]] = {}

    def readings(self, *, whole: bool) -> dict[str, dict[str, Reading]]:
        """What is to be read of each service's books."""
        since_us = 0 if whole else max(0, self._since_us - OVERLAP_US)
        found = {keeper: {"ledger": changed_since(path, since_us)} for keeper, path in _BOOKS.items()}
        for keeper, number in self._visited.items():
            found.setdefault(keeper, {})["visits"] = newer_than(f"/{keeper}/v1/visits", number)
        return found

    def take(self, read: Mapping[str, Mapping[str, Sequence[Row]]], began_us: int, *, whole: bool) -> None:
        """Take in what was read, in a reading that began then."""
        if whole:
            self.counted = {keeper: {} for keeper in _BOOKS}
        for keeper, counts in self.counted.items():
            counts.update((row["order_id"], row[_COUNTED[keeper]]) for row in read[keeper]["ledger"])
        for keeper, visited in self._visited.items():
            rows = read[keeper]["visits"]
            for row in rows:
                self._note(keeper, row)
            self._visited[keeper] = rows[-1]["number"] if rows else visited
        self._since_us = began_us

    def judge(self, orders: Mapping[str, Row], outbox: Row, numbers: Row) -> None:
        """Judge these orders, with the outbox as it was after they were read, and fulfilment's count of invoices."""
        self.orders, self._numbers = dict(orders), numbers
        self.undelivered = sum(outbox[name] for name in _UNDELIVERED)

    def _note(self, keeper: str, row: Row) -> None:
        if keeper == "mail":
            self.asked.add(row["order_id"])
        elif not row["well"]:
            tries = self.refusals.setdefault(row["key"], [])
            tries.append(row["at_us"])
            del tries[:-TRIES_KNOWN]

    def _paid(self, since_us: int) -> list[Row]:
        return [row for row in self.orders.values() if row["status"] == "paid" and row["placed_at_us"] >= since_us]

    def unheard(self, since_us: int) -> int:
        """Paid orders, placed since an instant, that fulfilment will never hear of."""
        return unheard(self._paid(since_us), self.counted["fulfilment"], self.undelivered)

    def doubled(self, since_us: int) -> int:
        """Mails, invoices and parcels beyond the first of an order that was placed since an instant."""
        orders = [row for row in self.orders.values() if row["placed_at_us"] >= since_us]
        return sum(doubled(orders, counts) for counts in self.counted.values())

    def held_up(self, since_us: int) -> int:
        """Customers without a confirmation because another one's message is tried without end."""
        return held_up(self._paid(since_us), self.asked, self.refusals.values())

    def view(self) -> Row:
        """How many paid orders there are, and what they wait for by the books of others."""
        paid = self._paid(0)
        return {"paid": len(paid), "unconfirmed": sum(row["order_id"] not in self.counted["mail"] for row in paid)}

    def judged(self, since_us: int) -> int:
        """How many paid orders that is judged of."""
        return len(self._paid(since_us))

    def verdict(self) -> Verdict:
        """Every paid order has one invoice and one confirmation, or is on its way to them."""
        first_us = self._numbers.get("since_us")
        paid = [] if first_us is None else self._paid(first_us)
        lost = unheard(paid, self.counted["fulfilment"], self.undelivered)
        twice = sum(doubled(paid, self.counted[keeper]) for keeper in ("fulfilment", "mail"))
        gaps = (self._numbers.get("last_number") or 0) - self._numbers.get("invoices", 0)
        billed, told = (sum(row["order_id"] in self.counted[name] for row in paid) for name in ("fulfilment", "mail"))
        detail = f"{len(paid)} paid orders, {billed} taken on, {told} confirmed"
        wrong = {"never heard of": lost, "too many": twice, "invoice numbers missing": gaps}
        found = ", ".join(f"{count} {what}" for what, count in wrong.items() if count)
        return Verdict(not found, f"{detail}; {found}" if found else detail)


class Queues:
    """How much the outbox and the jobs hold, and the dead letters; what was seen last where a service is away."""

    def __init__(self) -> None:
        self.depths: dict[str, Row] = {}
        self.letters: list[Row] = []

    def view(self) -> Row:
        """Depths by queue, with what is left to do in each."""
        return {
            name: {**depth, "left": depth["due"] + depth["waiting"] + depth["leased"]}
            for name, depth in self.depths.items()
        }

    def card(self, name: str) -> Row:
        """What a card shows of a queue."""
        depth = self.depths.get(name)
        if depth is None:
            return {}
        facts = {"due": "due", "waiting": "waiting", "running": "leased", "dead_letters": "parked"}
        return {**{fact: depth[field] for fact, field in facts.items()}, "oldest_due_for_s": round(depth["lag_s"], 1)}
