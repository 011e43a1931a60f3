"""Each switch over HTTP alone: off, its harm rises; on, under the same traffic, it stays at exactly zero."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest

import shop.gateway.defences
from sdpatterns import per_second
from shop.stage.switches import DEFENCES

from .pulses import until
from .visitor import PATIENCE_S, Visitor, new_name

pytestmark = pytest.mark.anyio


async def throw(visitor: Visitor, name: str, *, on: bool) -> None:
    answer = await visitor.http.put(f"/control/api/switches/{name}", json={"on": on})
    assert answer.status_code == 200, answer.text


async def defence(visitor: Visitor, name: str) -> dict[str, Any]:
    found: dict[str, Any] = (await visitor.state())["defences"][name]
    return found


async def harm(visitor: Visitor, name: str) -> int:
    return int((await defence(visitor, name))["harm"]["count"])


async def double_clicks(visitor: Visitor, buyers: int = 3) -> None:
    async def one() -> None:
        cart_id, key = await visitor.fill_cart("SP-00050"), new_name("twice")
        await asyncio.gather(visitor.check_out(cart_id, key=key), visitor.check_out(cart_id, key=key))

    await asyncio.gather(*(one() for _ in range(buyers)))
    # On a busy machine an order may still be on its way when its buyer has been told so.
    await visitor.settled()


async def test_idempotency(visitor: Visitor) -> None:
    await double_clicks(visitor)
    assert await harm(visitor, "idempotency") == 0
    await throw(visitor, "idempotency", on=False)
    async with asyncio.timeout(PATIENCE_S):
        while await harm(visitor, "idempotency") == 0:  # on a busy machine a press may be refused
            await double_clicks(visitor)
    assert (await defence(visitor, "idempotency"))["on"] is False
    await only_carts_were_bought_twice(visitor)
    await throw(visitor, "idempotency", on=True)
    await double_clicks(visitor)
    seen = await defence(visitor, "idempotency")
    assert seen["on"] is True
    assert seen["harm"]["count"] == 0
    await only_carts_were_bought_twice(visitor)  # the second orders of before are still there


async def only_carts_were_bought_twice(visitor: Visitor) -> None:
    """Order by order all is well: the harm is that there are two of them for one cart."""

    async def is_so() -> bool:
        verdicts = await visitor.get("/control/api/invariants")
        return [name for name, verdict in verdicts.items() if not verdict["holds"]] == ["carts_bought_once"]

    # Two replicas tell what was charged and what was paid, a moment apart.
    await until(is_so)


async def buy_in_vain(visitor: Visitor) -> None:
    """Some find out that the provider is down, and when all of them know, others come."""
    for buyers in (6, 2):
        answers = await asyncio.gather(*(visitor.buy("SP-00051") for _ in range(buyers)))
        assert {answer.status_code for answer in answers} == {503}


@pytest.mark.nightly
async def test_breaker(visitor: Visitor) -> None:
    await visitor.break_provider("hang", ttl_s=600)
    await buy_in_vain(visitor)
    assert await harm(visitor, "breaker") == 0
    await throw(visitor, "breaker", on=False)
    async with asyncio.timeout(PATIENCE_S):
        while await harm(visitor, "breaker") == 0:  # on a busy machine buyers may be refused before they reach payment
            await buy_in_vain(visitor)
    state = await visitor.state()
    assert {edge["breaker"] for edge in state["edges"] if edge["to"] == "psp" and edge["from"] == "payments"} == {None}
    await throw(visitor, "breaker", on=True)
    await buy_in_vain(visitor)
    assert await harm(visitor, "breaker") == 0
    await visitor.all_holds()


async def pay_in_doubt(visitor: Visitor) -> None:
    """A customer whose charge comes after all, when the order has been given up; then the provider is well again."""
    await visitor.break_provider("late", ttl_s=600)
    answer = await visitor.buy("SP-00052")
    assert answer.status_code == 503, answer.text
    await visitor.heal_provider()
    await visitor.settled()


@pytest.mark.nightly
async def test_undo(visitor: Visitor) -> None:
    await pay_in_doubt(visitor)
    assert await harm(visitor, "undo") == 0
    await throw(visitor, "undo", on=False)
    async with asyncio.timeout(PATIENCE_S):
        while await harm(visitor, "undo") == 0:  # the charge takes its time, and a busy machine may refuse the order
            await pay_in_doubt(visitor)
    await throw(visitor, "undo", on=True)
    await pay_in_doubt(visitor)
    seen = await defence(visitor, "undo")
    assert (seen["on"], seen["harm"]["count"]) == (True, 0)


async def begin(visitor: Visitor, kind: str, percent: int) -> None:
    fault = {"target": "ordering", "kind": kind, "percent": percent, "ttl_s": 600, "seed": 3}
    answer = await visitor.http.put("/control/api/fault", json=fault)
    assert answer.status_code == 200, answer.text


async def buy_some(visitor: Visitor, buyers: int = 3) -> list[dict[str, Any]]:
    """Orders that are paid."""
    carts = await asyncio.gather(*(visitor.fill_cart("SP-00053") for _ in range(buyers)))
    answers = await asyncio.gather(*(visitor.check_out_in_the_end(cart) for cart in carts))
    assert {answer.status_code for answer in answers} == {201}
    return [answer.json() for answer in answers]


@pytest.mark.nightly
async def test_upcaster(visitor: Visitor) -> None:
    await begin(visitor, "older", 50)
    orders = await buy_some(visitor, 8)
    assert all(order["total_minor"] > 0 for order in orders)
    seen = await defence(visitor, "upcaster")
    async with asyncio.timeout(PATIENCE_S):  # the log is judged by the look after the one that read it
        while not (seen := await defence(visitor, "upcaster"))["state"]["of_the_first_release"]:
            pass
    assert 0 < seen["state"]["of_the_first_release"] < 8, "both releases write"
    assert seen["harm"]["count"] == 0
    await throw(visitor, "upcaster", on=False)
    async with asyncio.timeout(PATIENCE_S):
        while await harm(visitor, "upcaster") == 0:
            orders = await buy_some(visitor, 4)
    assert 0 in {order["total_minor"] for order in orders}, "a customer who has paid is told of nothing"
    await throw(visitor, "upcaster", on=True)
    orders = await buy_some(visitor, 4)
    assert all(order["total_minor"] > 0 for order in orders)
    assert await harm(visitor, "upcaster") == 0


@pytest.mark.nightly
async def test_position_with_effect(visitor: Visitor) -> None:
    async def hurt() -> int:
        """After two looks, because the log is judged by tables that were read later."""
        await harm(visitor, "position")
        return await harm(visitor, "position")

    async def in_a_storm() -> None:
        await begin(visitor, "cut", 50)
        await buy_some(visitor)
        assert (await visitor.http.delete("/control/api/fault")).status_code == 200

    await in_a_storm()
    assert await hurt() == 0
    await throw(visitor, "position", on=False)
    async with asyncio.timeout(PATIENCE_S):
        while await hurt() == 0:
            await in_a_storm()
    await throw(visitor, "position", on=True)
    await in_a_storm()
    assert await hurt() == 0
    judged = await defence(visitor, "position")
    assert judged["harm"]["detail"] == "of 3 orders in the log"


async def greedy(visitor: Visitor, source: str) -> list[int]:
    """One client that searches as fast as it can."""
    transport = httpx.AsyncHTTPTransport(local_address=source)
    statuses: list[int] = []
    async with httpx.AsyncClient(base_url=visitor.settings.public, transport=transport, timeout=120) as http:

        async def one() -> None:
            path = "/api/v1/products?limit=1&q=lamp"
            statuses.extend([(await http.get(path)).status_code for _ in range(10)])

        await asyncio.gather(*(one() for _ in range(6)))
    return statuses


async def flood(visitor: Visitor) -> tuple[list[int], list[int]]:
    """A greedy client beside one that searches now and then."""

    async def modest() -> list[int]:
        path = "/api/v1/products?limit=1&q=oak"
        return [(await visitor.http.get(path)).status_code for _ in range(4)]

    return await asyncio.gather(greedy(visitor, "127.0.0.9"), modest())


async def test_limiter(
    opening: Callable[[], AbstractAsyncContextManager[Visitor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A share so small that a client exceeds it on the slowest machine.
    monkeypatch.setattr(shop.gateway.defences, "SEARCHES", per_second(1, burst=10))
    async with opening() as visitor:
        taken, modest = await flood(visitor)
        assert 429 in taken
        assert set(modest) == {200}, "another customer has a share of their own"
        assert await harm(visitor, "limiter") == 0
        await throw(visitor, "limiter", on=False)
        began_s = time.monotonic()
        taken, _ = await flood(visitor)
        assert set(taken) == {200}
        share = 10 + (time.monotonic() - began_s)
        assert len(taken) - 10 >= await harm(visitor, "limiter") >= len(taken) - share > 0
        await throw(visitor, "limiter", on=True)
        taken, modest = await flood(visitor)
        assert await harm(visitor, "limiter") == 0
        assert 429 in taken
        assert set(modest) == {200}


async def test_a_switch_takes_only_true_or_false(shared: Visitor) -> None:
    assert (await shared.http.put("/control/api/switches/limiter", json={"on": 1})).status_code == 422
    assert (await shared.http.put("/control/api/switches/limiter", json=None)).status_code == 415
    assert (await shared.http.put("/control/api/switches/nothing", json={"on": True})).status_code == 404
    assert (await defence(shared, "limiter"))["on"] is True


async def test_every_defence_shows_its_harm_and_the_source_of_the_figure(shared: Visitor) -> None:
    defences = (await shared.state())["defences"]
    assert defences.keys() == DEFENCES.keys()
    for seen in defences.values():
        assert seen["on"] is True
        assert seen["harm"]["count"] == 0
        assert seen["harm"].keys() == {"count", "unit", "detail", "source"}
        assert seen["state"]
