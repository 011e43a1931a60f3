"""The jobs that follow a paid order. Each may begin more than once, and has its effect once: its id is the key."""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from sdpatterns import Bulkhead, Jobs
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.backends.sqlalchemy.within import SQLView
from sdpatterns.errors import Rejected
from sdpatterns.messaging.jobs import Job, current_job
from sdpatterns.ports.queue import Message
from shop.database import Database
from shop.fulfilment import defences
from shop.fulfilment.domain import MAIL, SELLER, SHIPMENT, Done, TakenOrder, letter
from shop.fulfilment.signing import signed
from shop.fulfilment.store import FulfilmentStore
from shop.problems import Problem
from shop.service_client import ServiceClient

IsNew: TypeAlias = Callable[[str, SQLView], Awaitable[bool]]
"""Whether a message is new, in the transaction of its effect."""
_DEFINITE = frozenset({400, 404, 409, 413, 415, 422})
_ONE_LINE = "one line"
_AGAIN_S = 0.3


class Refused(Exception):
    """The answer was a definite no: to ask again would be no use."""


class NotYet(Rejected):
    """It failed, and the first in the line is tried until it works."""

    sentence = "not done yet"


class FollowUps:
    """What follows a paid order: the confirmation, the invoice, the parcel, the news for its sellers.

    Keeps: a job is done once, or is a dead letter after its last attempt; a job that fails holds up no other. Where
    `beside` says no, they stand in one line instead, and the first is tried until it works.
    """

    def __init__(
        self,
        jobs: Jobs,
        backend: SQLBackend,
        database: Database,
        *,
        clients: dict[str, ServiceClient],
        at_sellers: Bulkhead,
        at_carrier: Bulkhead,
        keys: Sequence[bytes],
        now_us: Callable[[], int],
        is_new: IsNew,
        beside: Callable[[], bool],
    ) -> None:
        self._jobs = jobs
        self._backend = backend
        self._database = database
        self._store = FulfilmentStore(database)
        self._clients = clients
        self._keys = keys
        self._now_us = now_us
        self._is_new = is_new
        self._beside = beside
        patient = self._declared(defences.ATTEMPTS)
        self._webhook = self._declared(defences.WEBHOOK_ATTEMPTS)("webhook", at_sellers.protect(self.webhook))
        self._first = [
            patient("confirm", self.confirm),
            patient("bill", self.bill),
            patient("ship", at_carrier.protect(self.ship)),
            patient("tell_sellers", self.tell_sellers),
        ]

    def _declared(self, attempts_max: int) -> Callable[[str, Callable[..., Awaitable[None]]], Job[..., None]]:
        def declare(name: str, work: Callable[..., Awaitable[None]]) -> Job[..., None]:
            return self._jobs.job(
                name=name,
                attempts_max=attempts_max,
                base_s=defences.FIRST_PAUSE_S,
                max_s=defences.PAUSE_MAX_S,
                give_up_on=(Refused,),
            )(self._in_line(work))

        return declare

    def _in_line(self, work: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        @functools.wraps(work)
        async def run(*arguments: Any, **named: Any) -> None:
            try:
                await work(*arguments, **named)
            except Exception as error:
                if self._beside():
                    raise
                raise NotYet(_ONE_LINE, retry_after_s=_AGAIN_S) from error

        return run

    async def begin(self, order_id: str, view: SQLView) -> None:
        """Enqueue all that follows an order, in the transaction that takes it on."""
        messages = [self._message(job, order_id=order_id) for job in self._first]
        await self._jobs.publish(messages, self._jobs.queue_in(view))

    def _message(self, job: Job[..., None], **arguments: Any) -> Message:
        return (job if self._beside() else job.options(key=_ONE_LINE)).message(**arguments)

    async def confirm(self, order_id: str) -> None:
        """Send the confirmation."""
        order = await self._store.find(order_id)
        sent = await self._ask("mail", "/mail/v1/messages", letter(order))
        await self._note(order_id, MAIL, sent["number"])

    async def bill(self, order_id: str) -> None:
        """Write the invoice: its number, the invoice and the note that it is done are one transaction."""
        order = await self._store.find(order_id)
        async with self._database.write(about="invoice numbers") as connection:
            if await self._is_new(current_job().id, self._backend.within(connection)):
                await self._store.bill(connection, order, self._now_us())

    async def ship(self, order_id: str) -> None:
        """Book the parcel at the carrier."""
        order = await self._store.find(order_id)
        body = {"order_id": order_id, "country": order.address["country"], "pieces": order.pieces}
        booked = await self._ask("carrier", "/carrier/v1/bookings", body)
        await self._note(order_id, SHIPMENT, f"SC{booked['number']:07d}")

    async def tell_sellers(self, order_id: str) -> None:
        """Enqueue a webhook for each seller of the order: one that refuses is no other's trouble."""
        shares = await self._shares(await self._store.find(order_id))
        about = current_job().id[:24]
        await self._jobs.publish(
            [
                self._message(
                    self._webhook.options(id=f"{about}-{number}"), order_id=order_id, seller=seller, items=items
                )
                for number, (seller, items) in enumerate(sorted(shares.items()))
            ]
        )

    async def _shares(self, order: TakenOrder) -> dict[str, list[dict[str, Any]]]:
        """What each seller sold of an order."""
        skus = ",".join(item["sku"] for item in order.items)
        found = (await self._clients["catalog"].ask("GET", f"/internal/products?skus={skus}"))["items"]
        makers = {product["sku"]: product["maker"] for product in found}
        shares: dict[str, list[dict[str, Any]]] = {}
        for item in order.items:
            if item["sku"] in makers:
                share = {"sku": item["sku"], "quantity": item["quantity"]}
                shares.setdefault(makers[item["sku"]], []).append(share)
        return shares

    async def webhook(self, order_id: str, seller: str, items: list[dict[str, Any]]) -> None:
        """Tell a seller what to pack, signed by each key in use."""
        body = json.dumps({"order_id": order_id, "items": items}).encode()
        headers = signed(current_job().id, body, self._keys, self._now_us())
        headers |= {"content-type": "application/json", "x-seller": seller}
        await self._clients["sellers"].deliver("/sellers/v1/orders", body, headers)
        await self._note(order_id, SELLER, seller)

    async def _ask(self, name: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Idempotency-Key": current_job().id}
        try:
            answer: dict[str, Any] = await self._clients[name].ask("POST", path, body=body, headers=headers)
        except Problem as problem:
            if problem.status in _DEFINITE:
                raise Refused(problem.detail) from problem
            raise
        return answer

    async def _note(self, order_id: str, what: str, detail: object) -> None:
        await self._store.note(order_id, Done(what, str(detail), self._now_us()))
