"""A purchase, seen from outside."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from shop.settings import CONTEXTS

from .visitor import DECLINED_CARD, DROP, GOOD_CARD, PLENTY, Visitor

pytestmark = pytest.mark.anyio

PROBLEM = "application/problem+json"


async def test_a_cart_becomes_an_order_that_is_paid_exactly_once(visitor: Visitor) -> None:
    cart_id = await visitor.fill_cart(PLENTY, 2)
    response = await visitor.check_out(cart_id)

    assert response.status_code == 201
    order = response.json()
    assert order["status"] == "paid"
    price = (await visitor.get(f"/api/v1/products/{PLENTY}"))["price_minor"]
    assert (order["total_minor"], order["currency"]) == (2 * price, "EUR")
    (charge,) = await visitor.charges(order["order_id"])
    assert (charge["amount_minor"], charge["refunded_minor"]) == (2 * price, 0)
    shown = await visitor.get(f"/api/v1/orders/{order['order_id']}")
    assert shown["status"] == "paid"
    assert [(item["sku"], item["quantity"]) for item in shown["items"]] == [(PLENTY, 2)]
    assert (await visitor.get(f"/api/v1/carts/{cart_id}"))["items"] == []
    await visitor.all_holds()


async def test_a_declined_card_is_not_charged_and_reserves_nothing(visitor: Visitor) -> None:
    before = await visitor.free(DROP)
    response = await visitor.buy(DROP, 3, card=DECLINED_CARD)

    assert response.status_code == 402
    assert response.headers["content-type"] == PROBLEM
    assert response.json()["type"] == "/problems/card-declined"
    assert await visitor.free(DROP) == before
    assert await visitor.settled() == {"failed": 1}
    await visitor.all_holds()


@pytest.mark.parametrize("buyers", [16, pytest.param(100, marks=pytest.mark.long)])
async def test_many_buyers_of_the_last_ten_pieces(visitor: Visitor, buyers: int) -> None:
    carts = [await visitor.fill_cart(DROP) for _ in range(buyers)]
    responses = await asyncio.gather(*(visitor.check_out_in_the_end(cart) for cart in carts))

    assert Counter(response.status_code for response in responses) == {201: 10, 409: buyers - 10}
    refusals = [response for response in responses if response.status_code == 409]
    assert {response.headers["content-type"] for response in refusals} == {PROBLEM}
    assert {response.json()["sku"] for response in refusals} == {DROP}
    assert await visitor.free(DROP) == 0
    await visitor.settled()
    await visitor.all_holds()


async def test_an_order_of_several_products_is_reserved_completely_or_not_at_all(visitor: Visitor) -> None:
    cart_id = await visitor.fill_cart(PLENTY, 1)
    await visitor.http.put(f"/api/v1/carts/{cart_id}/items/{DROP}", json={"quantity": 11})
    before = await visitor.free(PLENTY)
    response = await visitor.check_out(cart_id)

    assert (response.status_code, response.json()["sku"]) == (409, DROP)
    assert await visitor.free(PLENTY) == before
    await visitor.all_holds()


@pytest.mark.parametrize("times", [12, pytest.param(50, marks=pytest.mark.long)])
async def test_one_key_sent_many_times_at_once_buys_once(visitor: Visitor, times: int) -> None:
    cart_id = await visitor.fill_cart()
    responses = await asyncio.gather(*(visitor.check_out(cart_id, key="double-click") for _ in range(times)))

    assert {response.status_code for response in responses} <= {201, 409}
    bodies = {response.content for response in responses if response.status_code == 201}
    assert len(bodies) == 1
    order_id = next(response.json()["order_id"] for response in responses if response.status_code == 201)
    assert len(await visitor.charges(order_id)) == 1
    assert await visitor.settled() == {"paid": 1}
    again = await visitor.check_out(cart_id, key="double-click")
    assert (again.status_code, again.content) == (201, bodies.pop())
    await visitor.all_holds()


async def test_one_key_with_another_payload_is_refused(visitor: Visitor) -> None:
    cart_id = await visitor.fill_cart()
    assert (await visitor.check_out(cart_id, key="reused")).status_code == 201
    response = await visitor.check_out(await visitor.fill_cart(), key="reused")
    assert (response.status_code, response.headers["content-type"]) == (422, PROBLEM)
    assert await visitor.settled() == {"paid": 1}


async def test_data_survives_a_restart(opening: Callable[[], AbstractAsyncContextManager[Visitor]]) -> None:
    async with opening() as visitor:
        order = (await visitor.buy(DROP, 4)).json()
        waiting = await visitor.fill_cart(PLENTY, 3)
    async with opening() as visitor:
        assert (await visitor.get(f"/api/v1/orders/{order['order_id']}"))["status"] == "paid"
        assert await visitor.free(DROP) == 6
        assert (await visitor.check_out(waiting)).status_code == 201
        await visitor.all_holds()


def all_bytes(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


async def test_no_card_number_reaches_a_disk(
    opening: Callable[[], AbstractAsyncContextManager[Visitor]], data_dir: Path
) -> None:
    digests = {hashlib.sha256(card.encode()).hexdigest() for card in (GOOD_CARD, DECLINED_CARD)}
    async with opening() as visitor:
        await visitor.buy()
        await visitor.buy(card=DECLINED_CARD)
        await visitor.break_provider("fail")
        await visitor.buy()
    kept = all_bytes(data_dir)
    assert b"charge booked" in kept, "the log is not among the files"
    assert b"ada@example.org" in kept  # the order itself is there, so we are looking in the right place
    for secret in (GOOD_CARD, DECLINED_CARD, *digests):
        assert secret.encode() not in kept


async def test_every_service_has_health_and_metrics(shared: Visitor) -> None:
    for context in CONTEXTS:
        at = shared.settings.address(context)
        answers = {path: await shared.http.get(f"{at}{path}") for path in ("/livez", "/readyz", "/metrics")}
        assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(answers, 200), context
        assert answers["/metrics"].headers["content-type"].startswith("text/plain"), context


async def test_products_come_in_pages_that_end(shared: Visitor) -> None:
    seen: list[str] = []
    cursor = ""
    while True:
        page = await shared.get(f"/api/v1/products?limit=100&fields=sku&cursor={cursor}")
        assert page["items"], "a cursor that leads nowhere"
        seen += [item["sku"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = page["next"]
    assert len(seen) == len(set(seen)) == 5_000


async def test_fields_and_words_narrow_the_list(shared: Visitor) -> None:
    page = await shared.get("/api/v1/products?q=oak%20LAMP&fields=sku,title&limit=5")
    assert page["items"]
    for item in page["items"]:
        assert item.keys() == {"sku", "title"}
        assert "Oak" in item["title"]
        assert "Lamp" in item["title"]
