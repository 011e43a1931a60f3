"""What fulfilment does: take paid orders on, once, and show what became of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from sdpatterns import Jobs
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.errors import CodecError
from sdpatterns.messaging.cloudevents import CloudEvent
from sdpatterns.messaging.jobs.payload import decoded
from sdpatterns.ports.queue import Parked
from shop.database import Database
from shop.fulfilment.domain import INVOICE, MAIL, RETURN, SELLER, SHIPMENT, Done, taken
from shop.fulfilment.jobs import FollowUps, IsNew
from shop.fulfilment.store import FulfilmentStore
from shop.problems import Problem
from shop.validation import FieldError, InvalidInput

LETTERS_MAX = 500


class Fulfilment:
    """All that follows paid orders.

    Keeps: an event that is delivered twice begins nothing twice; what it begins is in the queue when it is taken.
    """

    def __init__(
        self,
        database: Database,
        backend: SQLBackend,
        jobs: Jobs,
        follow_ups: FollowUps,
        *,
        is_new: IsNew,
        now_us: Callable[[], int],
    ) -> None:
        self._database = database
        self._store = FulfilmentStore(database)
        self._backend = backend
        self._jobs = jobs
        self._follow_ups = follow_ups
        self._is_new = is_new
        self._now_us = now_us

    async def take(self, document: bytes) -> None:
        """Take an event: the order and the jobs that follow it, in one transaction."""
        try:
            event = CloudEvent.from_structured(document)
        except CodecError:
            raise InvalidInput(FieldError("/", "must be a CloudEvent")) from None
        order = taken(event)
        async with self._database.write() as connection:
            view = self._backend.within(connection, savepoints=False)
            if await self._is_new(event.id, view):
                await self._store.take(connection, order, self._now_us())
                await self._follow_ups.begin(order.order_id, view)

    async def followed(self, order_id: str) -> dict[str, Any]:
        """What followed an order so far; None for what has not."""
        found: dict[str, Any] = {MAIL: None, INVOICE: None, SHIPMENT: None, RETURN: None, "sellers": []}
        for done in await self._store.done(order_id):
            at = datetime.fromtimestamp(done.at_us / 1e6, UTC).isoformat(timespec="milliseconds")
            line = {"detail": done.detail, "at": at}
            if done.what == SELLER:
                found["sellers"].append(line)
            elif found[done.what] is None:
                found[done.what] = line
        return found

    async def take_in(self, order_id: str) -> None:
        """Note that the parcel of an order has come back; doing it again changes nothing."""
        for done in await self._store.done(order_id):
            if done.what == SHIPMENT:
                await self._store.note(order_id, Done(RETURN, done.detail, self._now_us()))
                return
        raise Problem(409, "not-sent", "There is no parcel of this order.")

    async def ledger(self, after: str, limit: int, since_us: int) -> list[dict[str, Any]]:
        """How many invoices each order has that was taken on."""
        return await self._store.ledger(after, limit, since_us)

    async def counts(self) -> dict[str, Any]:
        """How many orders and invoices there are."""
        return await self._store.counts()

    async def dead_letters(self) -> list[dict[str, Any]]:
        """The jobs that were given up, the oldest first."""
        return [self._shown(letter) for letter in await self._jobs.queue.parked(LETTERS_MAX)]

    def _shown(self, letter: Parked) -> dict[str, Any]:
        call = decoded(letter.payload)
        at = datetime.fromtimestamp(letter.parked_us / 1e6, UTC).isoformat(timespec="milliseconds")
        whom = {"order_id": call.arguments.get("order_id"), "seller": call.arguments.get("seller")}
        return {"id": letter.id, "job": call.job, **whom, "attempt": letter.attempt, "reason": letter.reason, "at": at}

    async def redrive(self, ids: Sequence[str] = ()) -> int:
        """Try dead letters again, these or all of them; how many it were."""
        wanted = ids or [letter.id for letter in await self._jobs.queue.parked(LETTERS_MAX)]
        return sum(await self._jobs.queue.redrive(wanted)) if wanted else 0
