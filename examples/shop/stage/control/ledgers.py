"""The ledgers and the provider's book as control knows them: read whole once, then only what has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from shop.background import together
from shop.problems import Problem
from shop.service_client import ServiceClient
from shop.stage.control.domain import Agreement, Verdict, disagreements, expected_minor
from shop.stage.control.harm import Visit

_OVERLAP_US = 10_000_000  # a row may be written a little after the instant that it bears
_RECHECKS_MAX = 50
LEDGER_PATHS = {"psp": "/psp/v1/ledger", "payments": "/internal/ledger"}

Row = dict[str, Any]


class Ledgers:
    """Every order beside what each ledger says was charged for it.

    Keeps: after `reread` it knows what stood in the ledgers, deleted rows included;
    `catch_up` reads only rows that changed since the last look, and returns their orders.
    """

    def __init__(self, services: Mapping[str, ServiceClient], now_us: Callable[[], int]) -> None:
        self._services = services
        self._now_us = now_us
        self._lock = asyncio.Lock()
        self._since_us = 0
        self._visited = 0
        self.payouts: list[Row] = []
        self.coupons: list[Row] = []
        self.orders: dict[str, Row] = {}
        self.against: dict[str, Agreement] = {keeper: Agreement() for keeper in LEDGER_PATHS}

    @property
    def charged(self) -> Mapping[str, int]:
        """What the provider's own book says is charged for each order."""
        return self.against["psp"].charged

    async def reread(self) -> None:
        """Forget everything and read it all again."""
        async with self._lock:
            fresh = Ledgers(self._services, self._now_us)
            await fresh._read()
            self.orders, self.against, self._since_us = fresh.orders, fresh.against, fresh._since_us

    async def catch_up(self) -> list[Row]:
        """Read what has changed; gives the orders among it."""
        async with self._lock:
            return await self._read()

    async def visits(self) -> list[Visit]:
        """Who came to the provider since this was last asked."""
        found: list[Visit] = []
        visited = self._visited
        while True:
            page = (await self._services["psp"].ask("GET", f"/psp/v1/visits?after={visited}"))["visits"]
            if not page:
                self._visited = visited  # only now: what a call cut short has read is read again
                return found
            visited = page[-1]["number"]
            found += [Visit(row["order_id"], row["kind"], bool(row["well"]), row["at_us"]) for row in page]

    async def read_on(self) -> None:
        """Read the coupons, and what is new in the ledger of payouts."""
        self.coupons = (await self._services["payments"].ask("GET", "/internal/coupons"))["coupons"]
        while True:
            after = self.payouts[-1]["number"] if self.payouts else 0
            page = (await self._services["payments"].ask("GET", f"/internal/payouts?after={after}"))["payouts"]
            if not page:
                return
            self.payouts += page

    async def _read(self) -> list[Row]:
        began_us = self._now_us()
        since_us = max(0, self._since_us - _OVERLAP_US)
        # The orders first: what an order says of its charge is then in the books that are read after it.
        orders = await self._changed("ordering", "/internal/ledger", since_us)
        charges: list[list[Row]] = await together(
            *(self._changed(keeper, path, since_us) for keeper, path in LEDGER_PATHS.items())
        )
        self.orders.update((row["order_id"], row) for row in orders)
        for keeper, rows in zip(LEDGER_PATHS, charges, strict=True):
            net = {row["order_id"]: net_minor(row) for row in rows}
            known = self.against[keeper]
            for order_id in net.keys() | {row["order_id"] for row in orders}:
                charged = net.get(order_id, known.charged.get(order_id, 0))
                known.put(order_id, expected_minor(self.orders.get(order_id)), charged)
        self._since_us = began_us
        return orders

    async def _changed(self, name: str, path: str, since_us: int) -> list[Row]:
        rows: list[Row] = []
        after = ""
        while True:
            page = (await self._services[name].ask("GET", f"{path}?after={after}&since_us={since_us}"))["orders"]
            rows += page
            if not page:
                return rows
            after = page[-1]["order_id"]

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
