"""What ordering asks of the other services: for the steps of its sagas, and for their undos."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from sdpatterns.messaging.saga import current_step
from shop.ordering.domain import CART_IN_USE, INTERRUPTED, Line, pieces, shares
from shop.problems import Problem
from shop.service_client import ServiceClient

FORGOTTEN = "card-forgotten"  # what payments says of a token whose process died, or that came too late


class Refused(Problem):
    """A service said no and is known to have done nothing."""


class NotSettled(Exception):
    """The provider's book does not say yet that nothing is left of a charge."""


class Purchase(TypedDict):
    """What the steps of an order need, as its journal keeps it; of the card there is no more than a token."""

    order_id: str
    cart_id: str
    placed_at_us: int
    lines: list[dict[str, Any]]
    total_minor: int
    coupon: str
    shared: bool


class Calls:
    """The other services. Each call may be repeated: the order's id is its idempotency key, in the path."""

    def __init__(
        self, *, cart: ServiceClient, inventory: ServiceClient, payments: ServiceClient, fulfilment: ServiceClient
    ) -> None:
        self._cart = cart
        self._fulfilment = fulfilment
        self._inventory = inventory
        self._payments = payments

    async def quote(self, cart_id: str) -> tuple[tuple[Line, ...], str]:
        """What is in a cart at the prices of this moment, and their currency."""
        cart = await self._cart.ask("GET", f"/api/v1/carts/{cart_id}")
        if not cart["items"]:
            raise Problem(422, "cart-empty", "There is nothing in this cart.")
        lines = tuple(Line(*(item[name] for name in Line.__slots__)) for item in cart["items"])
        return lines, cart["currency"]

    async def offered(self, code: str) -> int:
        """What a coupon takes off; a Problem for one that there is not, or that has no use left."""
        try:
            coupon = await self._payments.ask("GET", f"/internal/coupons/{code}")
        except Problem as problem:
            if problem.status != 404:
                raise
            raise Problem(422, "coupon-unknown", "There is no such coupon.") from None
        if coupon["is_spent"]:
            raise _coupon_spent()
        return int(coupon["off_minor"])

    async def keep_card(self, order_id: str, card: Mapping[str, str]) -> str:
        """A token for a card, which payments keeps in memory until it is charged, and not for long."""
        headers = {"Idempotency-Key": f'"{order_id}"'}  # it may be sent again: a second token does no harm
        kept = await self._payments.ask("POST", "/internal/cards", body={"card": dict(card)}, headers=headers)
        return str(kept["token"])

    async def take(self, purchase: Purchase) -> None:
        """Take the lines out of the cart."""
        body = {
            "cart_id": purchase["cart_id"],
            "placed_at_us": purchase["placed_at_us"],
            "shared": purchase["shared"],
            "items": pieces(lines_of(purchase)),
        }
        try:
            await self._cart.ask("PUT", f"/internal/takings/{purchase['order_id']}", body=body, headers=_keyed())
        except Problem as problem:
            if problem.status != 409:
                raise
            # Not a 409 of our own, which would be kept as the answer of this key: the lines may come back.
            raise Refused(
                503,
                CART_IN_USE,
                "Another order is buying this cart, or it has changed. Look at the cart and try again.",
                retry_after_s=2,
            ) from None

    async def give_back(self, order_id: str) -> None:
        """Put the lines back into the cart."""
        await self._cart.ask("DELETE", f"/internal/takings/{order_id}")

    async def empty_cart(self, order_id: str) -> None:
        """Forget the lines that a paid order shared with its cart."""
        with contextlib.suppress(Problem):  # a cart that keeps its lines does no harm
            await self._cart.ask("POST", f"/internal/takings/{order_id}/bought")

    async def reserve(self, purchase: Purchase) -> None:
        """Hold the pieces."""
        lines, body = lines_of(purchase), {"items": pieces(lines_of(purchase))}
        try:
            path = f"/internal/reservations/{purchase['order_id']}"
            await self._inventory.ask("PUT", path, body=body, headers=_keyed())
        except Problem as problem:
            if problem.status == 409:
                raise Refused(409, problem.slug, _in_words(problem, lines), **problem.members) from None
            raise

    async def sell(self, order_id: str) -> None:
        """Sell the pieces that are held."""
        await self._inventory.ask("PUT", f"/internal/reservations/{order_id}/sale", headers=_keyed())

    async def release(self, order_id: str) -> None:
        """Give the pieces back, held or sold."""
        await self._inventory.ask("DELETE", f"/internal/reservations/{order_id}", headers=_keyed())

    async def charge(self, purchase: Purchase, card: str) -> None:
        """Charge the card behind the token."""
        body = {
            "amount_minor": purchase["total_minor"],
            "card": card,
            "shares": shares(lines_of(purchase)),
            "coupon": purchase["coupon"],
        }
        path = f"/internal/payments/{purchase['order_id']}/charge"
        answer = await self._payments.ask("POST", path, body=body, headers=_keyed())
        if answer["outcome"] != "charged":
            raise _not_charged(answer)

    async def repay(self, order_id: str) -> None:
        """Take the charge back, if there is one; NotSettled while that is not certain."""
        payment = await self._payments.ask("POST", f"/internal/payments/{order_id}/undo", headers=_keyed())
        if not payment["settled"]:
            raise NotSettled(f"the payment of {order_id} is {payment['state']}")

    async def check_sent(self, order_id: str) -> None:
        """A 409 problem for an order whose parcel was not sent."""
        followed = await self._fulfilment.ask("GET", f"/internal/orders/{order_id}/followed")
        if followed["shipment"] is None:
            raise Problem(409, "not-sent", "This order was not sent yet. It can be cancelled.")

    async def take_in(self, order_id: str) -> None:
        """Note that the parcel has come back."""
        await self._fulfilment.ask("POST", f"/internal/orders/{order_id}/return", headers=_keyed())


def lines_of(purchase: Purchase) -> list[Line]:
    """The lines of a purchase."""
    return [Line(**line) for line in purchase["lines"]]


def _keyed() -> dict[str, str]:
    """The key of the step that asks, the same in each attempt at it."""
    return {"Idempotency-Key": f'"{current_step().idempotency_key}"'}


def _not_charged(answer: Mapping[str, Any]) -> Problem:
    if answer["outcome"] == "declined":
        return Refused(402, answer["reason"], "The card was declined. Nothing was charged.")
    if answer["outcome"] == "spent":
        return _coupon_spent()
    if answer["reason"] == FORGOTTEN:
        return Refused(503, INTERRUPTED, "The order was interrupted. Nothing was charged.", retry_after_s=1)
    if answer["outcome"] == "refused":
        wait_s = answer["retry_after_s"] or 1.0
        words = "Payments are not possible at the moment. Nothing was charged."
        return Refused(503, "payment-unavailable", words, retry_after_s=wait_s)
    return Problem(
        503,
        "payment-uncertain",
        "The payment provider did not answer in time. The order is being undone; a charge would be refunded.",
        retry_after_s=15,
    )


def _coupon_spent() -> Refused:
    return Refused(409, "coupon-spent", "This coupon has been used up. Nothing was charged.")


def _in_words(refusal: Problem, lines: Sequence[Line]) -> str:
    """The inventory knows products by their sku, people by their title."""
    titles = [line.title for line in lines if line.sku == refusal.members.get("sku")]
    return f"There are not enough pieces of {titles[0]}." if titles else refusal.detail
