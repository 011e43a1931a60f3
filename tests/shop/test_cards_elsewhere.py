"""A charge that comes to another replica than the one with the card is handed on, also to one that is leaving."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shop.access import HostCheckMiddleware
from shop.payments import cards as cards_module
from shop.payments.cards import Cards
from shop.payments.domain import Card

pytestmark = pytest.mark.anyio

ONE, OTHER = "http://127.0.1.1:9006", "http://127.0.1.2:9006"


class Replica:
    def __init__(self, address: str) -> None:
        self.address = address

    async def ask(self, method: str, path: str, *, body: Any) -> Any:
        return {"by": self.address, "path": path, **body}


async def test_a_token_names_the_replica_that_has_the_card_until_that_was_long_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed = [ONE, OTHER]
    here, there = (Cards(address, lambda: listed, Replica) for address in (ONE, OTHER))  # type: ignore[arg-type]
    token = there.keep(Card(number="4242", expiry="12/30", cvc="123"))
    assert await there.elsewhere(token, "/charge", {}) is None, "it is here"
    assert await here.elsewhere(token, "/charge", {"n": 1}) == {"by": OTHER, "path": "/charge", "n": 1}
    listed.remove(OTHER)
    assert (await here.elsewhere(token, "/charge", {}))["by"] == OTHER, "it is leaving, and still answers"
    monkeypatch.setattr(cards_module, "CARD_KEPT_S", -1.0)
    assert await here.elsewhere(token, "/charge", {}) is None
    assert await here.elsewhere("0123456789ab-forged", "/charge", {}) is None


async def test_a_replica_ends_once_its_cards_are_charged_and_waits_for_no_checkout_that_was_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cards = Cards(ONE, lambda: [ONE], Replica)  # type: ignore[arg-type]
    await cards.charged()
    first, second = (cards.keep(Card(number="4242", expiry="12/30", cvc="123")) for _ in range(2))
    ended = asyncio.create_task(cards.charged())
    await asyncio.sleep(0)
    cards.forget(first)
    await asyncio.sleep(0)
    assert not ended.done(), "the other one is still to be charged"
    cards.forget(second)
    await ended
    monkeypatch.setattr(cards_module, "CHARGED_WITHIN_S", 0.0)
    cards.keep(Card(number="4242", expiry="12/30", cvc="123"))
    await cards.charged()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("shop.example", 200),
        ("Shop.Example:443", 200),
        ("127.0.1.1:8080", 200),
        ("evil.example", 421),
        ("x.shop.example", 421),
    ],
)
async def test_the_control_room_answers_under_the_name_that_the_shop_is_known_by(host: str, status: int) -> None:
    seen: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            seen.append(message["status"])

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "GET", "path": "/control", "headers": [(b"host", host.encode())]}
    await HostCheckMiddleware(app, "/control", "shop.example")(scope, receive, send)
    assert seen == [status]
