"""What payments does: charge once, undo for good, and find out what it was not told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from sdpatterns import with_deadline
from shop.payments.coupons import Coupons
from shop.payments.domain import (
    ABSENT,
    ASKED,
    CHARGE_BUDGET_S,
    CHARGED,
    DECLINED,
    SETTLED,
    Card,
    Payment,
    out_of_doubt,
)
from shop.payments.provider import Answer, ProviderClient
from shop.payments.store import PaymentStore

_log = logging.getLogger("shop.payments")


class Payments:
    """The money of all orders.

    Keeps: what is asked of the provider is on our disk before it is sent; a charge is booked once;
    a charge that is not wanted any more is refunded, whenever it turns up.
    """

    def __init__(
        self, store: PaymentStore, provider: ProviderClient, coupons: Coupons, now_us: Callable[[], int]
    ) -> None:
        self._store = store
        self._coupons = coupons
        self._provider = provider
        self._now_us = now_us

    async def charge(
        self, order_id: str, amount_minor: int, card: Card | None, shares: Mapping[str, int], coupon: str = ""
    ) -> Answer:
        """Use an order's coupon and charge the rest, at most once; `shares` says whose goods it is for.

        Without a card, because it was forgotten, it only finds out whether the order is charged already.
        """
        if card is None:
            return await self._charged_before(order_id)
        payment = Payment(order_id, amount_minor, ASKED, wanted=True, charge_id=None, asked_at_us=self._now_us())
        asked = await self._store.ask(payment, shares)
        if not asked.wanted or asked.state in SETTLED:
            return Answer("refused", reason="undone")
        if asked.state == CHARGED:
            return Answer("charged", asked.charge_id)
        if coupon and (refusal := await self._use(coupon, order_id)) is not None:
            return refusal
        with with_deadline(CHARGE_BUDGET_S):
            answer = await self._provider.charge(order_id, amount_minor, card)
        return await self._note(order_id, answer)

    async def _charged_before(self, order_id: str) -> Answer:
        payment = await self._store.find(order_id)
        if payment is not None and payment.state == ASKED and payment.wanted:
            payment = await self._look_up(payment)
        if payment is None or not payment.wanted or payment.state in SETTLED:
            return Answer("refused", reason="card-forgotten")
        return Answer("charged", payment.charge_id) if payment.state == CHARGED else Answer("unknown")

    async def _use(self, coupon: str, order_id: str) -> Answer | None:
        """Use a coupon; an answer where it cannot be used, and then nothing is charged."""
        use = await self._coupons.use(order_id, coupon)
        if use == "used":
            return None
        await self._store.ended(order_id, DECLINED if use == "spent" else ABSENT)
        return Answer("spent") if use == "spent" else Answer("refused", reason=use, retry_after_s=1.0)

    async def _note(self, order_id: str, answer: Answer) -> Answer:
        """Write down the result of a charge before anything else uses it."""
        if answer.outcome == "charged" and answer.charge_id is not None:
            payment = await self._store.charged(order_id, answer.charge_id)
            if not payment.wanted:  # undone while the provider was at it
                await self.settle(order_id)
                return Answer("unknown")
        elif answer.outcome == "declined":
            await self._store.ended(order_id, DECLINED)
        elif answer.outcome == "refused":
            await self._store.ended(order_id, ABSENT)
        else:
            _log.warning("charge in doubt", extra={"order_id": order_id})
        return answer

    async def undo(self, order_id: str) -> Payment:
        """Take an order's money back if it was ever taken; settled only when that is certain."""
        await self._store.unwanted(order_id, self._now_us())
        return await self.settle(order_id)

    async def settle(self, order_id: str) -> Payment:
        """Ask the provider's own book where we are in doubt, and refund what is not wanted."""
        payment = await self._store.find(order_id)
        if payment is None:
            return await self._store.unwanted(order_id, self._now_us())
        if payment.state in SETTLED or (payment.state == CHARGED and payment.wanted):
            return payment
        if payment.state == ASKED:
            payment = await self._look_up(payment)
        if payment.state == CHARGED and not payment.wanted and payment.charge_id is not None:
            return await self._refund(order_id, payment.charge_id) or payment
        return payment

    async def _refund(self, order_id: str, charge_id: str) -> Payment | None:
        return await self._store.refunded(order_id) if await self._provider.refund(charge_id) else None

    async def _look_up(self, payment: Payment) -> Payment:
        lines = await self._provider.book(payment.order_id)
        if lines:
            return await self._store.charged(payment.order_id, lines[0]["charge_id"])
        if lines is not None and out_of_doubt(payment, self._now_us()):
            return await self._store.ended(payment.order_id, ABSENT)
        return payment

    async def event(self, event_id: str, order_id: str) -> None:
        """Something happened at the provider: a hint, perhaps late, perhaps twice; the book has the truth."""
        if await self._store.first_seen(event_id) and await self._store.find(order_id) is not None:
            await self.settle(order_id)

    async def audit(self) -> dict[str, int]:
        """Sums of the double-entry ledger."""
        return await self._store.audit()

    async def ledger(self, after: str, limit: int, since_us: int) -> list[dict[str, Any]]:
        """What the provider owes us, order by order."""
        return await self._store.ledger(after, limit, since_us)
