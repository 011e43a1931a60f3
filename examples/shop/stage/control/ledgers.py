"""The ledgers and the provider's book as control knows them: read whole once, then only what has changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shop.problems import Problem
from shop.service_client import ServiceClient
from shop.stage.control.domain import Agreement, Verdict, disagreements, expected_minor
from shop.stage.control.harm import Logged, Visit
from shop.stage.control.views import Reading, Row, changed_since, newer_than

OVERLAP_US = 10_000_000  # a row may be written a little after the instant that it bears
_RECHECKS_MAX = 50
LEDGER_PATHS = {"psp": "/psp/v1/ledger", "payments": "/internal/ledger"}


class Ledgers:
    """Every order beside what each ledger says was charged for it.

    Keeps: after a whole reading it knows what stood in the ledgers, deleted rows included; any other reads
    only what changed since the last one.
    """

    def __init__(self, services: Mapping[str, ServiceClient]) -> None:
        self._services = services
        self._since_us = 0
        self._visited = self._logged = 0
        self._unjudged: list[Row] = []
        self.logged: dict[str, Logged] = {}
        """What the log said of each order before the tables were last read."""
        self._new_orders: list[Row] = []
        self._new_visits: list[Visit] = []
        self.payouts: list[Row] = []
        self.orders: dict[str, Row] = {}
        self.against: dict[str, Agreement] = {keeper: Agreement() for keeper in LEDGER_PATHS}

    @property
    def charged(self) -> Mapping[str, int]:
        """What the provider's own book says is charged for each order."""
        return self.against["psp"].charged

    def readings(self, *, whole: bool) -> dict[str, dict[str, Reading]]:
        """What is to be read of each service's books."""
        since_us = 0 if whole else max(0, self._since_us - OVERLAP_US)
        paid = self.payouts[-1]["number"] if self.payouts else 0
        return {
            "ordering": {
                "orders": changed_since("/internal/ledger", since_us),
                "events": newer_than("/internal/order-log", self._logged, "events"),
            },
            "psp": {
                "charges": changed_since(LEDGER_PATHS["psp"], since_us),
                "visits": newer_than("/psp/v1/visits", self._visited),
            },
            "payments": {
                "charges": changed_since(LEDGER_PATHS["payments"], since_us),
                "payouts": newer_than("/internal/payouts", paid, "payouts"),
            },
        }

    def take(self, read: Mapping[str, Mapping[str, Sequence[Row]]], began_us: int, *, whole: bool) -> None:
        """Take in what was read, in a reading that began then."""
        if whole:
            self.orders, self.against = {}, {keeper: Agreement() for keeper in LEDGER_PATHS}
        orders = read["ordering"]["orders"]
        self.orders.update((row["order_id"], row) for row in orders)
        for keeper, known in self.against.items():
            net = {row["order_id"]: net_minor(row) for row in read[keeper]["charges"]}
            for order_id in net.keys() | {row["order_id"] for row in orders}:
                charged = net.get(order_id, known.charged.get(order_id, 0))
                known.put(order_id, expected_minor(self.orders.get(order_id)), charged)
        self.payouts += read["payments"]["payouts"]
        self._note_events(read["ordering"]["events"])
        visits = read["psp"]["visits"]
        self._visited = visits[-1]["number"] if visits else self._visited
        self._new_orders += orders
        self._new_visits += [Visit(row["order_id"], row["kind"], bool(row["well"]), row["at_us"]) for row in visits]
        self._since_us = began_us

    def _note_events(self, events: Sequence[Row]) -> None:
        """Take in what the look before this one read: these tables were read after it, and have it."""
        for row in self._unjudged:
            first = Logged(row["at_us"], row["version"], row["event"])
            self.logged[row["order_id"]] = self.logged.get(row["order_id"], first)._replace(event=row["event"])
        self._unjudged = list(events)
        self._logged = events[-1]["number"] if events else self._logged

    def news(self) -> tuple[list[Row], list[Visit]]:
        """The orders that have changed, and who came to the provider, since this was last asked."""
        news = self._new_orders, self._new_visits
        self._new_orders, self._new_visits = [], []
        return news

    async def verdict(self, keeper: str) -> Verdict:
        """Whether a ledger agrees with the orders; suspects are looked at again on their own."""
        known = self.against[keeper]
        suspects = sorted(known.suspects)[:_RECHECKS_MAX]
        wrong = [order_id for order_id in suspects if await self._still_wrong(order_id, keeper)]
        return known.verdict(wrong)

    async def _still_wrong(self, order_id: str, keeper: str) -> bool:
        """Look at a suspect again: the two ledgers were not read in the same instant."""
        before = await self._order(order_id)
        rows = await self._services[keeper].ask("GET", f"{LEDGER_PATHS[keeper]}?after={order_id[:-1]}")
        charged = {row["order_id"]: net_minor(row) for row in rows["orders"]}
        after = await self._order(order_id)
        if before != after:
            return False
        return bool(disagreements({} if after is None else {order_id: after}, {order_id: charged.get(order_id, 0)}))

    async def _order(self, order_id: str) -> Row | None:
        try:
            order = await self._services["ordering"].ask("GET", f"/api/v1/orders/{order_id}")
        except Problem as problem:
            if problem.status == 404:
                return None
            raise
        return {"status": order["status"], "total_minor": order["total_minor"]}


def net_minor(row: Mapping[str, Any]) -> int:
    """What is charged for an order and not refunded, in either ledger's words."""
    if "net_minor" in row:
        return int(row["net_minor"])
    return int(row["amount_minor"]) - int(row["refunded_minor"])
