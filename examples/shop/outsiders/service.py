"""What an outsider does when all is well, and when it has a fault."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Any

from shop.outsiders.domain import Entry, Visit
from shop.outsiders.store import Book
from shop.problems import Problem
from shop.stage.faults import SLOW_S, FaultInjector


class NoAnswer(Exception):
    """The outsider took the request and will never answer it."""


class Outsider:
    """Another company's front: what is sent to it, each perhaps met by a fault. It takes `takes_s` when all is well.

    Keeps: one entry per key, however often it is sent.
    """

    def __init__(self, book: Book, injector: FaultInjector, now_us: Callable[[], int], takes_s: float = 0.0) -> None:
        self._book = book
        self._injector = injector
        self._takes_s = takes_s
        self.now_us = now_us

    async def take(self, key: str, order_id: str, party: str, text: str, skus: Collection[str] = ()) -> int:
        """Take something, once per key; gives its number in the book."""
        active = self._injector.current(time.monotonic())
        decision = self._injector.next(time.monotonic())
        poisoned = active is not None and decision.kind == "poison" and _product(active[0].seed) in skus
        well = decision.kind in ("well", "slow", "poison") and not poisoned
        visit = Visit(key, order_id, well, self.now_us())
        if poisoned:
            await self._book.visited(visit)
            raise Problem(422, "unknown-article", f"{party} cannot read this message.")
        await asyncio.sleep(SLOW_S if decision.kind == "slow" else self._takes_s)
        if not (well or decision.booked):
            await self._book.visited(visit)
        else:
            number = await self._book.enter(Entry(key, order_id, party, text, self.now_us()), visit)
            if well:
                return number
        if decision.kind == "hang":
            raise NoAnswer
        raise Problem(500, "outsider-error", "This company has a problem.")

    async def of_order(self, order_id: str) -> list[Entry]:
        """What stands in the book for an order; it can be read during a fault too."""
        return await self._book.of_order(order_id)

    async def ledger(self, after: str, limit: int, since_us: int) -> list[dict[str, Any]]:
        """How often something was entered, order by order."""
        return await self._book.ledger(after, limit, since_us)

    async def visits(self, after: int, limit: int) -> list[dict[str, Any]]:
        """Who came with which key, and whether they were answered well."""
        return await self._book.visits(after, limit)


def _product(number: int) -> str:
    """The product that poisons a message: the fault's seed is its number."""
    return f"SP-{number:05d}"
