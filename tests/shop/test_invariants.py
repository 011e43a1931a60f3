"""The invariants see what is wrong: each is broken behind the shop's back, and says so."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from .visitor import DROP, PATIENCE_S, Visitor

pytestmark = pytest.mark.anyio


def tamper(visitor: Visitor, name: str, *statements: str) -> None:
    path = visitor.settings.data_dir / f"{name}.sqlite3"
    with closing(sqlite3.connect(path, timeout=PATIENCE_S, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize(
    ("context", "statement", "broken"),
    [
        (
            "psp",
            "INSERT INTO charges VALUES ('ch_x', 'k', 'nobodys_order', 100, 0, 'now')",
            {"charged_equals_paid"},
        ),
        ("psp", "DELETE FROM charges", {"charged_equals_paid"}),
        ("psp", "UPDATE charges SET refunded_minor = amount_minor", {"charged_equals_paid"}),
        ("payments", "DELETE FROM entries WHERE account = 'provider'", {"ledger_equals_paid", "ledger_balances"}),
        ("payments", "UPDATE entries SET amount_minor = amount_minor * 2", {"ledger_equals_paid"}),
        ("ordering", "UPDATE orders SET status = 'failed'", {"charged_equals_paid", "ledger_equals_paid"}),
        ("inventory", f"UPDATE stock SET free = free + 1 WHERE sku = '{DROP}'", {"stock_accounted_for"}),
        ("inventory", f"UPDATE stock SET sold = 0, free = received WHERE sku = '{DROP}'", {"stock_accounted_for"}),
        ("inventory", "UPDATE reservations SET state = 'released'", {"stock_accounted_for"}),
    ],
)
async def test_a_broken_service_is_shown_as_broken(
    visitor: Visitor, context: str, statement: str, broken: set[str]
) -> None:
    assert (await visitor.buy(DROP, 2)).status_code == 201
    await visitor.all_holds()
    tamper(visitor, context, statement)
    verdicts = await visitor.get("/control/api/invariants")
    assert {name for name, verdict in verdicts.items() if not verdict["holds"]} == broken
    assert all(verdict["detail"] for verdict in verdicts.values())


async def test_an_order_that_is_not_finished_is_stuck(visitor: Visitor) -> None:
    await visitor.buy(DROP)
    # Its provider never gives the money back, so that it can't be undone.
    await visitor.break_provider("fail", ttl_s=600)
    tamper(visitor, "payments", "UPDATE payments SET wanted = 1")
    tamper(visitor, "ordering", "UPDATE orders SET status = 'undoing'")
    visitor.shift.ahead_s = 200.0
    verdicts = await visitor.get("/control/api/invariants")
    assert not verdicts["no_order_stuck"]["holds"]
