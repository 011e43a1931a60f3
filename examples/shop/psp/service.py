"""What the provider does on good days and on bad ones."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from shop.problems import Problem, not_found
from shop.psp.domain import DECLINED, LATE_S, Charge, Visit
from shop.psp.store import Book
from shop.stage.faults import SLOW_S, FaultInjector

_log = logging.getLogger("shop.psp")
_EVENTS_MAX = 1_000

Notify = Callable[[str, str], Awaitable[None]]


class NoAnswer(Exception):
    """The provider took the request and will never answer it."""


class Provider:
    """The provider's front: charges and refunds, each perhaps met by a fault.

    Keeps: one charge per idempotency key, whatever the decision and however often it is sent.
    """

    def __init__(self, book: Book, injector: FaultInjector, now_us: Callable[[], int]) -> None:
        self._book = book
        self._injector = injector
        self._now_us = now_us
        self._events: asyncio.Queue[str] = asyncio.Queue(_EVENTS_MAX)

    async def charge(self, key: str, order_id: str, amount_minor: int, card_number: str) -> Charge:
        """Charge a card; a 402 problem when the card's bank declines."""
        if card_number in DECLINED:
            await self._visited(order_id, "charge", well=True)
            raise Problem(402, DECLINED[card_number], "The bank declined this card.")

        async def book() -> Charge:
            return await self._enter(key, order_id, amount_minor)

        return await self._with_fault(book, order_id, "charge")

    async def refund(self, charge_id: str) -> Charge:
        """Refund a charge in full."""
        known = await self._book.find(charge_id)
        if known is None:
            raise not_found("such charge")

        async def book() -> Charge:
            return await self._book.refund(charge_id, self._now_us()) or known

        return await self._with_fault(book, known.order_id, "refund")

    async def of_order(self, order_id: str) -> list[Charge]:
        """The book's lines of an order; the book can be read during a fault too."""
        return await self._book.of_order(order_id)

    async def ledger(self, after: str, limit: int, since_us: int) -> list[dict[str, Any]]:
        """What was charged and refunded, order by order."""
        return await self._book.ledger(after, limit, since_us)

    async def visits(self, after: int, limit: int) -> list[dict[str, Any]]:
        """Who came for which order, and whether they were answered well: the access book."""
        return await self._book.visits(after, limit)

    async def tell(self, notify: Notify) -> None:
        """Tell the shop of what was booked, for as long as the service runs: late, twice or not at all is allowed."""
        while True:
            order_id = await self._events.get()
            event_id = f"evt_{secrets.token_hex(8)}"
            for _ in range(2 if self._has_fault("twice") else 1):
                with contextlib.suppress(Problem):  # the shop asks the book when it misses an event
                    await notify(event_id, order_id)

    def _has_fault(self, kind: str) -> bool:
        active = self._injector.current(time.monotonic())
        return active is not None and active[0].kind == kind

    async def _visited(self, order_id: str, kind: str, *, well: bool) -> None:
        await self._book.visited(Visit(order_id, kind, well, self._now_us()))

    async def _with_fault(self, book: Callable[[], Awaitable[Charge]], order_id: str, kind: str) -> Charge:
        decision = self._injector.next(time.monotonic())
        await self._visited(order_id, kind, well=decision.kind in ("well", "twice"))
        if decision.kind == "slow":
            await asyncio.sleep(SLOW_S)
        elif decision.kind == "late":
            await asyncio.sleep(LATE_S)
        elif decision.kind == "twice":
            await asyncio.gather(book(), book())
        elif decision.kind in ("fail", "hang"):
            if decision.booked:
                await book()
            if decision.kind == "fail":
                raise Problem(500, "provider-error", "The provider has a problem.")
            raise NoAnswer
        return await book()

    async def _enter(self, key: str, order_id: str, amount_minor: int) -> Charge:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = Charge(f"ch_{secrets.token_hex(10)}", order_id, amount_minor, 0, at)
        charge, booked = await self._book.charge(key, line, self._now_us())
        if booked:
            _log.info("charge booked", extra={"order_id": order_id, "amount_minor": amount_minor})
            with contextlib.suppress(asyncio.QueueFull):  # an event is only a hint
                self._events.put_nowait(order_id)
        return charge
