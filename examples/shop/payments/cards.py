"""The cards of checkouts that are under way: in memory, for a moment, behind a token that says nothing of them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any

from shop.payments.domain import Card
from shop.service_client import ServiceClient

CARD_KEPT_S = 30.0  # a checkout, and the time until another process goes on with its order


class Cards:
    """What others know of a card is a token; the card stays in the memory of the replica that was given it.

    Keeps: no card is written to a disk, a journal or a log; it is forgotten once its charge has an answer, and after
    `CARD_KEPT_S` in any case. A token names its replica, so that a charge that comes to another one is handed on.
    """

    def __init__(self, replica: int, others: Mapping[int, ServiceClient]) -> None:
        self._replica = replica
        self._others = others
        self._kept: dict[str, Card] = {}

    def keep(self, card: Card) -> str:
        """A token for a card."""
        token = f"{self._replica}-{secrets.token_urlsafe(24)}"
        self._kept[token] = card
        asyncio.get_running_loop().call_later(CARD_KEPT_S, self.forget, token)
        return token

    def find(self, token: str) -> Card | None:
        """The card behind a token; None where it was forgotten."""
        return self._kept.get(token)

    def forget(self, token: str) -> None:
        """Forget a card, the moment that it is not needed any more."""
        self._kept.pop(token, None)

    async def elsewhere(self, token: str, path: str, body: Any) -> Any:
        """The answer of the replica that has the card; None where that is this one, or one that is not there."""
        number = token.partition("-")[0]
        other = self._others.get(int(number)) if number.isdecimal() else None
        return None if other is None else await other.ask("POST", path, body=body)
