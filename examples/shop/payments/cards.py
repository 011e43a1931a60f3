"""The cards of checkouts that are under way: in memory, for a moment, behind a token that says nothing of them."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

from shop.background import happens
from shop.payments.domain import Card
from shop.service_client import ServiceClient

CHARGED_WITHIN_S = 5.0  # a checkout, from its card to its charge
CARD_KEPT_S = 30.0  # a checkout, and the time until another process goes on with its order


class Cards:
    """What others know of a card is a token; the card stays in the memory of the replica that was given it.

    Keeps: no card is written to a disk, a journal or a log; it is forgotten once its charge has an answer, and after
    `CARD_KEPT_S` in any case. A token names its replica, so that a charge that comes to another one is handed on:
    to one of the `addresses` where replicas are, or were so long ago, and to no other place. A replica that is about to
    end is not listed any more while a card of its is still being charged, and ends only when that is done.
    """

    def __init__(
        self,
        own: str,
        addresses: Callable[[], Sequence[str]],
        client: Callable[[str], ServiceClient],
    ) -> None:
        self._own = _short(own)
        self._addresses = addresses
        self._client = client
        self._listed: dict[str, tuple[str, float]] = {}
        self._kept: dict[str, Card] = {}
        self._none_left = asyncio.Event()

    def keep(self, card: Card) -> str:
        """A token for a card."""
        token = f"{self._own}-{secrets.token_urlsafe(24)}"
        self._kept[token] = card
        asyncio.get_running_loop().call_later(CARD_KEPT_S, self.forget, token)
        return token

    def find(self, token: str) -> Card | None:
        """The card behind a token; None where it was forgotten."""
        return self._kept.get(token)

    def forget(self, token: str) -> None:
        """Forget a card, the moment that it is not needed any more."""
        self._kept.pop(token, None)
        if not self._kept:
            self._none_left.set()

    async def charged(self) -> None:
        """Wait until no card is kept here any more, or none whose checkout may still be under way."""
        self._none_left.clear()
        if self._kept:
            await happens(self._none_left, CHARGED_WITHIN_S)

    async def elsewhere(self, token: str, path: str, body: Any) -> Any:
        """The answer of the replica that has the card; None where that is this one, or one that is not there."""
        named = token.partition("-")[0]
        if named == self._own:
            return None
        now_s = time.monotonic()
        self._listed.update({_short(address): (address, now_s) for address in self._addresses()})
        self._listed = {name: seen for name, seen in self._listed.items() if now_s - seen[1] <= CARD_KEPT_S}
        address, _ = self._listed.get(named, ("", 0.0))
        return await self._client(address).ask("POST", path, body=body) if address else None


def _short(address: str) -> str:
    """A replica as tokens name it: they go through the journal of orders, which need not know addresses."""
    return hashlib.blake2b(address.encode(), digest_size=6).hexdigest()
