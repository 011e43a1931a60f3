"""Count what a checkout of the shop asks of its databases: `python -m benchmarks.checkout_statements`.

Counts say more than times on a machine that has other work. Begins and commits are not among them where the driver
does them.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))  # the shop is run from there

from tests.shop.visitor import visiting

CHECKOUTS = 10
SETTLES_S = 5.0  # what follows the orders that warm it up
asked: Counter[str] = Counter()


def count(connection: Connection, *_others: Any) -> None:
    """One more statement in the database of this connection."""
    asked[Path(connection.engine.url.database or "reads").name] += 1


async def counted() -> None:
    """Buy, and count."""
    with tempfile.TemporaryDirectory() as folder:
        async with visiting(Path(folder) / "data") as visitor:
            for _ in range(3):
                await visitor.check_out_in_the_end(await visitor.fill_cart())
            carts = [await visitor.fill_cart() for _ in range(CHECKOUTS)]
            await asyncio.sleep(SETTLES_S)
            event.listen(Engine, "before_cursor_execute", count)
            for cart in carts:
                answer = await visitor.check_out_in_the_end(cart)
                assert answer.status_code == 201, answer.text
            event.remove(Engine, "before_cursor_execute", count)


if __name__ == "__main__":
    asyncio.run(counted())
    for name, total in asked.most_common():
        print(f"{name:24} {total / CHECKOUTS:6.1f}")
