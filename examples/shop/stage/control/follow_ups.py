"""What follows paid orders, as the ledgers of fulfilment and the outsiders' own books tell it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from shop.background import together
from shop.problems import Problem
from shop.service_client import ServiceClient
from shop.stage.control.domain import Verdict
from shop.stage.control.harm import TRIES_KNOWN, doubled, held_up, unheard

_OVERLAP_US = 10_000_000  # a row may be written a little after the instant that it bears
LETTERS_SHOWN = 20
_BOOKS = {"fulfilment": "/internal/ledger", "mail": "/mail/v1/ledger", "carrier": "/carrier/v1/ledger"}
_COUNTED = {"fulfilment": "invoices", "mail": "entries", "carrier": "entries"}
_UNDELIVERED = ("due", "waiting", "leased", "parked")

Row = dict[str, Any]


class FollowUpBooks:
    """Every paid order beside its invoice, its confirmation and its parcel.

    Keeps: an order is called unheard of only if it was paid before the outbox was looked at, the outbox did not hold
    it, and fulfilment had not taken it on after that: so none that is only on its way.
    """

    def __init__(self, services: Mapping[str, ServiceClient], now_us: Callable[[], int]) -> None:
        self._services = services
        self._now_us = now_us
        self._lock = asyncio.Lock()
        self._since_us = 0
        self._visited = {"mail": 0, "sellers": 0}
        self._numbers: Row = {}
        self.orders: dict[str, Row] = {}
        self.undelivered = 0
        self.counted: dict[str, dict[str, int]] = {keeper: {} for keeper in _BOOKS}
        self.asked: set[str] = set()
        self.refusals: dict[str, list[int]] = {}

    async def reread(self, orders: Mapping[str, Row]) -> None:
        """Forget the ledgers and read them again, for these orders."""
        async with self._lock:
            self._since_us = 0
            self.counted = {keeper: {} for keeper in _BOOKS}
            await self._read(dict(orders))

    async def catch_up(self, orders: Mapping[str, Row]) -> None:
        """Read what has changed, for these orders, which were read before."""
        async with self._lock:
            await self._read(dict(orders))

    async def _read(self, orders: dict[str, Row]) -> None:
        began_us = self._now_us()
        outbox = (await self._services["ordering"].ask("GET", "/internal/queues"))["queues"]["outbox"]
        await self._changed("fulfilment")
        await together(self._changed("mail"), self._changed("carrier"), self._visits("mail"), self._visits("sellers"))
        self._numbers = await self._services["fulfilment"].ask("GET", "/internal/counts")
        self.orders, self.undelivered = orders, sum(outbox[name] for name in _UNDELIVERED)
        self._since_us = began_us

    async def _changed(self, keeper: str) -> None:
        since_us, after = max(0, self._since_us - _OVERLAP_US), ""
        while True:
            path = f"{_BOOKS[keeper]}?after={after}&since_us={since_us}"
            page = (await self._services[keeper].ask("GET", path))["orders"]
            if not page:
                return
            self.counted[keeper].update((row["order_id"], row[_COUNTED[keeper]]) for row in page)
            after = page[-1]["order_id"]

    async def _visits(self, keeper: str) -> None:
        while True:
            path = f"/{keeper}/v1/visits?after={self._visited[keeper]}"
            page = (await self._services[keeper].ask("GET", path))["visits"]
            if not page:
                return
            for row in page:
                self._note(keeper, row)
            self._visited[keeper] = page[-1]["number"]

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

    def __init__(self, services: Mapping[str, ServiceClient]) -> None:
        self._services = services
        self.depths: dict[str, Row] = {}
        self.letters: list[Row] = []

    async def look(self) -> None:
        """Look at them."""
        with contextlib.suppress(Problem):
            for keeper in ("ordering", "fulfilment"):
                self.depths.update((await self._services[keeper].ask("GET", "/internal/queues"))["queues"])
            self.letters = (await self._services["fulfilment"].ask("GET", "/internal/dead-letters"))["letters"]

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

    async def redrive(self, body: Any) -> Any:
        """Try dead letters again: the one that is named, or all."""
        return await self._services["fulfilment"].ask("POST", "/internal/dead-letters/redrive", body=body)
