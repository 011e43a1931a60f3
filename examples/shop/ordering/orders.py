"""Orders as streams of events: what is decided about one, with all that has to be true at the same time."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from sdpatterns import EventStore
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.backends.sqlalchemy.within import SQLView
from sdpatterns.core.policy import Policy
from shop.database import Database
from shop.ordering.domain import (
    PAID,
    Checkout,
    Close,
    Command,
    GiveUp,
    Order,
    OrderEvent,
    OrderFailed,
    OrderPaid,
    OrderPlaced,
    Pay,
    TakeBack,
    news,
)
from shop.ordering.events import ORDERS, Publisher
from shop.ordering.store import CHECKOUT_KEYS, CONTACTS

Starts: TypeAlias = Callable[[SQLView], Awaitable[Any]]
"""Begins something in the transaction of an event: a saga."""


class KeyTaken(Exception):
    """The checkout key has an order that is not failed."""


class Orders:
    """All orders.

    Keeps: the events that a command leads to, the news of a paid order, the saga that an event begins, and the key of
    a checkout are one transaction. An order has at most one of the two ends, also when both are asked for at once.
    """

    def __init__(
        self,
        database: Database,
        backend: SQLBackend,
        events: EventStore,
        *,
        publisher: Callable[[], Publisher],
        again: Policy,
        now_us: Callable[[], int],
    ) -> None:
        self._database = database
        self._backend = backend
        self._events = events
        self._publisher = publisher
        self._again = again
        self._now_us = now_us

    async def find(self, order_id: str) -> tuple[Order | None, int]:
        """An order, and the position of its last event in the log."""
        found = await self._events.state(ORDERS, order_id)
        return (found.state if found.state.status else None), found.position

    async def of_key(self, checkout_key: str) -> Order | None:
        """The order of a checkout key that has not failed."""
        query = select(CHECKOUT_KEYS.c.order_id).where(CHECKOUT_KEYS.c.checkout_key == checkout_key)
        rows = await self._database.few(query)
        return (await self.find(rows[0].order_id))[0] if rows else None

    async def place(self, placed: OrderPlaced, checkout_key: str, checkout: Checkout, start: Starts) -> None:
        """Begin an order and its saga; KeyTaken when its key has one already."""
        contact = json.dumps({"email": checkout.email, "address": dict(checkout.address)})
        try:
            async with self._database.write() as connection:
                key = {"checkout_key": checkout_key, "order_id": placed.order_id}
                await connection.execute(insert(CHECKOUT_KEYS).values(key))
                await connection.execute(insert(CONTACTS).values(order_id=placed.order_id, contact=contact))
                view = self._backend.within(connection, savepoints=False)
                await self._events.append(ORDERS.stream(placed.order_id), 0, [placed], within=view)
                await start(view)
        except IntegrityError:
            raise KeyTaken(checkout_key) from None

    async def pay(self, order_id: str) -> bool:
        """Declare an order paid; False where it was given up before."""
        return (await self._decide(order_id, Pay(self._now_us()))).status == PAID

    async def give_up(self, order_id: str, reason: str) -> Order:
        """Decide that an order will not be paid, unless it is; gives it as it is then."""
        return await self._decide(order_id, GiveUp(reason, self._now_us()))

    async def take_back(self, order_id: str, reason: str, start: Starts) -> Order:
        """Cancel a paid order; gives it as it is then."""
        return await self._decide(order_id, TakeBack(reason, self._now_us()), start)

    async def close(self, order_id: str) -> None:
        """Declare that nothing is left of an order."""
        await self._decide(order_id, Close(self._now_us()))

    async def contact(self, order_id: str) -> dict[str, Any]:
        """The e-mail and the address that an order was placed with."""
        query = select(CONTACTS.c.contact).where(CONTACTS.c.order_id == order_id)
        ((text,),) = await self._database.rows(query)
        contact: dict[str, Any] = json.loads(text)
        return contact

    async def _decide(self, order_id: str, command: Command, start: Starts | None = None) -> Order:
        """The order after a command; another one may come between, and then it decides again."""
        order: Order = await self._again.call(partial(self._decided, order_id, command, start))
        return order

    async def _decided(self, order_id: str, command: Command, start: Starts | None) -> Order:
        found = await self._events.state(ORDERS, order_id)
        order, events = found.state, ORDERS.decide(found.state, command)
        if not events:
            return order
        for event in events:
            order = ORDERS.evolve(order, event)
        publisher = self._publisher()
        paid = news(order, await self.contact(order_id)) if isinstance(events[-1], OrderPaid) else None
        async with self._database.write() as connection:
            view = self._backend.within(connection, savepoints=False)
            await self._events.append(ORDERS.stream(order_id), found.version, events, within=view)
            await _free_key(connection, order_id, events[-1])
            if start is not None:
                await start(view)
            if paid is not None:
                await publisher.with_change(paid, view)
        if paid is not None:
            await publisher.after_change(paid)
        return order


async def _free_key(connection: AsyncConnection, order_id: str, event: OrderEvent) -> None:
    """The key of an order that failed may be used for another one."""
    if isinstance(event, OrderFailed):
        await connection.execute(delete(CHECKOUT_KEYS).where(CHECKOUT_KEYS.c.order_id == order_id))
