"""What control does: audit the shop from its ledgers and the outsider's book, and show its defences."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from shop.control.domain import (
    Verdict,
    disagreements,
    expected_minor,
    judge_ledger,
    judge_money,
    judge_progress,
    judge_stock,
)
from shop.neighbours import Neighbour
from shop.problems import Problem

_RECHECKS_MAX = 50


class Control:
    """The control room.

    Keeps: figures come from the ledgers and the provider's book alone; an order in flight is nobody's fault.
    """

    def __init__(self, neighbours: Mapping[str, Neighbour], now_us: Callable[[], int]) -> None:
        self._neighbours = neighbours
        self._now_us = now_us

    async def invariants(self) -> dict[str, dict[str, Any]]:
        """Each invariant with its verdict of this moment."""
        accounts, stock, counts, book, own = await asyncio.gather(
            self._ask("payments", "/internal/audit"),
            self._ask("inventory", "/internal/audit"),
            self._ask("ordering", "/internal/counts"),
            self._money("psp", "/psp/v1/ledger"),
            self._money("payments", "/internal/ledger"),
        )
        verdicts = {
            "charged_equals_paid": book,
            "ledger_equals_paid": own,
            "ledger_balances": judge_ledger(accounts),
            "stock_accounted_for": judge_stock(stock),
            "no_order_stuck": judge_progress(counts, self._now_us()),
        }
        return {name: {"holds": verdict.holds, "detail": verdict.detail} for name, verdict in verdicts.items()}

    async def state(self) -> dict[str, Any]:
        """Everything the control page shows."""
        invariants, limiter, breaker, turns, fault, counts = await asyncio.gather(
            self.invariants(),
            self._ask("gateway", "/internal/limiter"),
            self._ask("payments", "/internal/defences"),
            self._ask("ordering", "/internal/defences"),
            self._ask("psp", "/admin/fault"),
            self._ask("ordering", "/internal/counts"),
        )
        return {"invariants": invariants, **limiter, **breaker, **turns, **fault, "orders": counts}

    async def begin_fault(self, fault: Any) -> Any:
        """Begin a fault at the provider, who judges whether it is one."""
        return await self._neighbours["psp"].ask("PUT", "/admin/fault", body=fault)

    async def heal_fault(self) -> Any:
        """Heal the provider at once."""
        return await self._neighbours["psp"].ask("DELETE", "/admin/fault")

    async def _ask(self, name: str, path: str) -> Any:
        return await self._neighbours[name].ask("GET", path)

    async def _money(self, keeper: str, path: str) -> Verdict:
        """Compare what a ledger says was charged with what the orders say should be."""
        charged = {row["order_id"]: _net(row) for row in await self._all(keeper, path)}
        orders = {row["order_id"]: row for row in await self._all("ordering", "/internal/ledger")}
        suspects = disagreements(orders, charged)
        wrong = [order_id for order_id in suspects[:_RECHECKS_MAX] if await self._still_wrong(order_id, keeper, path)]
        expected = {order_id: expected_minor(order) for order_id, order in orders.items()}
        in_flight = {order_id for order_id, amount in expected.items() if amount is None}
        net = sum(amount for order_id, amount in charged.items() if order_id not in in_flight)
        return judge_money(sum(amount or 0 for amount in expected.values()), net, len(in_flight), wrong)

    async def _still_wrong(self, order_id: str, keeper: str, path: str) -> bool:
        """Look at a suspect again on its own: the two ledgers were not read in the same instant."""
        before = await self._order(order_id)
        rows = await self._neighbours[keeper].ask("GET", f"{path}?after={order_id[:-1]}")
        charged = {row["order_id"]: _net(row) for row in rows["orders"]}
        after = await self._order(order_id)
        if before != after:
            return False
        return bool(disagreements({} if after is None else {order_id: after}, {order_id: charged.get(order_id, 0)}))

    async def _order(self, order_id: str) -> dict[str, Any] | None:
        try:
            order = await self._neighbours["ordering"].ask("GET", f"/api/v1/orders/{order_id}")
        except Problem as problem:
            if problem.status == 404:
                return None
            raise
        return {"status": order["status"], "total_minor": order["total_minor"]}

    async def _all(self, name: str, path: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        after = ""
        while True:
            page = (await self._neighbours[name].ask("GET", f"{path}?after={after}"))["orders"]
            rows += page
            if not page:
                return rows
            after = page[-1]["order_id"]


def _net(row: Mapping[str, Any]) -> int:
    if "net_minor" in row:
        return int(row["net_minor"])
    return int(row["amount_minor"]) - int(row["refunded_minor"])
