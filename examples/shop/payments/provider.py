"""The client of the payment provider: the one place where the shop depends on another company's service."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple

import httpx2

from sdpatterns.core.policy import Policy
from sdpatterns.errors import DeadlineExceeded, Rejected
from shop.payments.domain import Card


class ProviderFailed(Exception):
    """The provider answered with an error of its own: whether it did the work is unknown."""


TROUBLE = (httpx2.TransportError, DeadlineExceeded, ProviderFailed)


class Answer(NamedTuple):
    """How a charge went.

    It is charged, declined, spent (its coupon), refused (never sent) or unknown (sent, and no clear answer).
    """

    outcome: str
    charge_id: str | None = None
    reason: str = ""
    retry_after_s: float | None = None


class ProviderClient:
    """Charges, refunds and the book.

    Keeps: `refused` is said only when no attempt left this process; charges and refunds go through
    the pipeline, the book is read without it, because it is asked for when the rest is in doubt.
    """

    def __init__(self, client: httpx2.AsyncClient, pipeline: Policy) -> None:
        self._client = client
        self._pipeline = pipeline

    async def charge(self, order_id: str, amount_minor: int, card: Card) -> Answer:
        """Ask for a charge; the order id is its idempotency key, so asking again never charges again."""
        body = {"order_id": order_id, "amount_minor": amount_minor, "card": asdict(card)}
        sent = False

        async def attempt() -> httpx2.Response:
            nonlocal sent
            sent = True
            return await self._post("/psp/v1/charges", body, {"Idempotency-Key": order_id})

        try:
            response = await self._pipeline.call(attempt)
        except (Rejected, *TROUBLE) as error:
            return Answer("unknown" if sent else "refused", retry_after_s=getattr(error, "retry_after_s", None))
        if response.status_code == 201:
            return Answer("charged", response.json()["charge_id"])
        return Answer("declined", reason=_slug(response))

    async def refund(self, charge_id: str) -> bool:
        """Ask for a refund in full; False when it is not known to be done."""

        async def attempt() -> httpx2.Response:
            return await self._post(f"/psp/v1/charges/{charge_id}/refund", {}, {})

        try:
            return (await self._pipeline.call(attempt)).status_code == 200
        except (Rejected, *TROUBLE):
            return False

    async def book(self, order_id: str) -> list[dict[str, Any]] | None:
        """The provider's own lines for an order; None when the book cannot be read."""
        try:
            response = await self._client.get("/psp/v1/charges", params={"order_id": order_id})
        except (Rejected, *TROUBLE):
            return None
        return response.json() if response.status_code == 200 else None

    async def _post(self, path: str, body: Any, headers: dict[str, str]) -> httpx2.Response:
        response = await self._client.post(path, json=body, headers=headers)
        if response.status_code >= 500:
            raise ProviderFailed(f"{path} answered {response.status_code}")
        return response


def _slug(response: httpx2.Response) -> str:
    try:
        return str(response.json()["type"]).removeprefix("/problems/")
    except (ValueError, KeyError, TypeError):
        return "card-declined"
