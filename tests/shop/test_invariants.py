"""The invariants see what is wrong: each is broken behind the shop's back, and says so."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import pytest

from .visitor import DROP, PATIENCE_S, Visitor

pytestmark = pytest.mark.anyio


async def tamper(visitor: Visitor, name: str, *statements: str) -> None:
    """Change a service's own file behind its back, in a thread: the shop runs in this loop, and may be writing."""

    def change() -> None:
        path = visitor.settings.data_dir / f"{name}.sqlite3"
        with closing(sqlite3.connect(path, timeout=PATIENCE_S, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)

    await asyncio.to_thread(change)


BROKEN = [
    (
        "psp",
        "charges",
        "INSERT INTO charges VALUES ('ch_x', 'k', 'nobodys_order', 100, 0, 'now')",
        "charged_equals_paid",
    ),
    ("psp", "charges", "DELETE FROM charges", "charged_equals_paid"),
    ("psp", "charges", "UPDATE charges SET refunded_minor = amount_minor", "charged_equals_paid"),
    ("payments", "entries", "DELETE FROM entries WHERE account = 'provider'", "ledger_equals_paid ledger_balances"),
    ("payments", "entries", "UPDATE entries SET amount_minor = amount_minor * 2", "ledger_equals_paid"),
    ("ordering", "orders", "UPDATE orders SET status = 'failed'", "charged_equals_paid ledger_equals_paid"),
    ("inventory", "stock", f"UPDATE stock SET free = free + 1 WHERE sku = '{DROP}'", "stock_accounted_for"),
    ("inventory", "stock", f"UPDATE stock SET sold = 0, free = received WHERE sku = '{DROP}'", "stock_accounted_for"),
    ("inventory", "reservations", "UPDATE reservations SET state = 'released'", "stock_accounted_for"),
]


async def test_a_broken_service_is_shown_as_broken(visitor: Visitor) -> None:
    assert (await visitor.buy(DROP, 2)).status_code == 201
    await visitor.settled()
    for context, table, statement, broken in BROKEN:
        await visitor.all_holds()
        await tamper(visitor, context, f"CREATE TABLE kept AS SELECT * FROM {table}", statement)
        verdicts = await visitor.get("/control/api/invariants")
        found = {name for name, verdict in verdicts.items() if not verdict["holds"]}
        assert found == set(broken.split()), statement
        assert all(verdict["detail"] for verdict in verdicts.values())
        back = (f"DELETE FROM {table}", f"INSERT INTO {table} SELECT * FROM kept", "DROP TABLE kept")
        await tamper(visitor, context, "BEGIN IMMEDIATE", *back, "COMMIT")
    await visitor.all_holds()


async def test_an_order_that_is_not_finished_is_stuck(visitor: Visitor) -> None:
    await visitor.buy(DROP)
    await visitor.settled()  # so that no event of the order is written into the tables after this
    # Its provider never gives the money back, so that it can't be undone.
    await visitor.break_provider("fail", ttl_s=600)
    await tamper(visitor, "payments", "UPDATE payments SET wanted = 1")
    await tamper(visitor, "ordering", "UPDATE orders SET status = 'undoing'")
    visitor.shift.ahead_s = 200.0
    verdicts = await visitor.get("/control/api/invariants")
    assert not verdicts["no_order_stuck"]["holds"]
