"""Judging the ledgers: what each order should have cost, what was charged, and whose turn it still is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

IN_FLIGHT = frozenset({"pending", "undoing"})
STUCK_S = 120.0


class Verdict(NamedTuple):
    """Whether something holds, and the figures that say so."""

    holds: bool
    detail: str


def expected_minor(order: Mapping[str, Any] | None) -> int | None:
    """What should be charged for an order; None while it is in flight."""
    if order is None:
        return 0
    if order["status"] in IN_FLIGHT:
        return None
    return order["total_minor"] if order["status"] == "paid" else 0


def disagreements(orders: Mapping[str, Mapping[str, Any]], charged: Mapping[str, int]) -> list[str]:
    """The ids whose charge is not what it should be, among orders that are finished."""
    suspects = []
    for order_id in orders.keys() | charged.keys():
        expected = expected_minor(orders.get(order_id))
        if expected is not None and expected != charged.get(order_id, 0):
            suspects.append(order_id)
    return sorted(suspects)


def judge_money(paid_minor: int, net_minor: int, in_flight: int, wrong: Iterable[str]) -> Verdict:
    """Charged − refunded = paid orders, order by order."""
    wrong = list(wrong)
    detail = f"paid orders {paid_minor}, charged − refunded {net_minor}, in flight {in_flight} orders"
    return Verdict(not wrong, detail if not wrong else f"{detail}; wrong: {', '.join(wrong[:5])}")


def judge_ledger(accounts: Mapping[str, int]) -> Verdict:
    """In double entry all accounts together are zero."""
    total = sum(accounts.values())
    return Verdict(total == 0, f"provider {accounts.get('provider', 0)}, sales {accounts.get('sales', 0)}, sum {total}")


def judge_payouts(audit: Mapping[str, Any]) -> Verdict:
    """Each seller was paid what they are owed, night by night; what came since waits for the next night."""
    figures = ", ".join(f"{name} {audit[f'{name}_minor']}" for name in ("owed", "paid", "waiting"))
    wrong = [f"{seller} in night {night}: {paid} for {owed}" for night, seller, owed, paid in audit["wrong"]]
    return Verdict(not wrong, figures if not wrong else f"{figures}; wrong: {', '.join(wrong[:5])}")


def judge_coupons(coupons: Iterable[Mapping[str, Any]], paid: Mapping[str, int]) -> Verdict:
    """No coupon was used by more paid orders than it may be."""
    budgets = {coupon["code"]: coupon["uses_max"] for coupon in coupons}
    wrong = [f"{code}: {used} of {budgets.get(code, 0)}" for code, used in paid.items() if used > budgets.get(code, 0)]
    detail = f"{sum(paid.values())} paid orders used one of {len(budgets)} coupons"
    return Verdict(not wrong, detail if not wrong else f"{detail}; wrong: {', '.join(wrong[:5])}")


def leadership(election: Mapping[str, Any]) -> dict[str, str]:
    """Who pays the sellers, and how far the night is, in words."""
    if not election:
        return {}
    since, term = election["since"], election["term"]
    running = "is running" if election["running"] else "is over"
    return {
        "leader": election["leader"] or "nobody just now",
        "leads_since": f"{since[11:19]} UTC" if since else "–",
        "term": f"{election['terms']}, number …{term[-6:]}" if term else "–",
        "candidates": str(election["candidates"]),
        "night": f"{election['night']} {running}, {election['payouts']} paid" if election["night"] else "none yet",
    }


def judge_stock(audit: Mapping[str, Any]) -> Verdict:
    """Stock ≥ 0 and reserved + sold + free = received, product by product, and as the reservations say."""
    figures = ", ".join(f"{name} {audit[name]}" for name in ("received", "free", "reserved", "sold"))
    wrong = [*audit["unbalanced"], *audit["apart"]]
    return Verdict(not wrong, figures if not wrong else f"{figures}; wrong: {', '.join(wrong)}")


def judge_progress(counts: Mapping[str, Mapping[str, int]], now_us: int) -> Verdict:
    """No order stays in flight for long."""
    open_orders = [counts[status] for status in IN_FLIGHT if status in counts]
    if not open_orders:
        return Verdict(holds=True, detail="no order in flight")
    age_s = (now_us - min(row["oldest_at_us"] for row in open_orders)) / 1_000_000
    number = sum(row["orders"] for row in open_orders)
    return Verdict(age_s < STUCK_S, f"{number} orders in flight, the oldest for {age_s:.1f} s")


def bought_again(audit: Mapping[str, Any], orders: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The paid orders of baskets that an earlier order had bought."""
    paid = _paid(orders)
    return [order_id for several in audit["shared"] for order_id in [one for one in several if one in paid][1:]]


def _paid(orders: Mapping[str, Mapping[str, Any]]) -> set[str]:
    return {order_id for order_id, order in orders.items() if order["status"] == "paid"}


def judge_baskets(audit: Mapping[str, Any], orders: Mapping[str, Mapping[str, Any]]) -> Verdict:
    """What is in a cart is bought once: each paid order took a basket of its own, by the cart's own book."""
    paid = _paid(orders)
    since_us = audit["since_us"]
    judged = sum(since_us is not None and orders[order_id]["placed_at_us"] >= since_us for order_id in paid)
    wrong = bought_again(audit, orders)
    detail = f"{judged} paid orders, {audit['takings']} baskets taken"
    holds = not wrong and judged <= audit["takings"]
    return Verdict(holds, detail if not wrong else f"{detail}; baskets bought again: {', '.join(wrong[:5])}")


class Agreement:
    """Orders against one ledger of charges, kept up order by order.

    Keeps: `paid_minor` and `net_minor` are the sums over what was last put in for each order, and
    `suspects` are the finished orders whose charge is not what it should be.
    """

    def __init__(self) -> None:
        self.paid_minor = 0
        self.net_minor = 0
        self.suspects: set[str] = set()
        self.in_flight: set[str] = set()
        self.charged: dict[str, int] = {}
        self._expected: dict[str, int | None] = {}

    def put(self, order_id: str, expected_minor: int | None, charged_minor: int) -> None:
        """What an order should have cost (None in flight), and what was charged for it."""
        self._count(order_id, -1)
        self._expected[order_id] = expected_minor
        self.charged[order_id] = charged_minor
        self._count(order_id, 1)
        (self.in_flight.add if expected_minor is None else self.in_flight.discard)(order_id)
        wrong = expected_minor is not None and expected_minor != charged_minor
        (self.suspects.add if wrong else self.suspects.discard)(order_id)

    def _count(self, order_id: str, sign: int) -> None:
        expected_minor = self._expected.get(order_id, 0)
        if expected_minor is not None:
            self.paid_minor += sign * expected_minor
            self.net_minor += sign * self.charged.get(order_id, 0)

    def verdict(self, wrong: Iterable[str]) -> Verdict:
        """Charged − refunded = paid orders, except the orders that are wrong."""
        return judge_money(self.paid_minor, self.net_minor, len(self.in_flight), wrong)
