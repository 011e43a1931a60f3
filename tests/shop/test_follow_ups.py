"""What follows a paid order: one mail, one invoice, one parcel, and signed news for its sellers, whatever fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from shop.fulfilment.signing import TOLERANCE_S, keys_of, signed, verified
from shop.outsiders.sellers import known_to
from shop.stage.control.harm import TRIES_KNOWN, doubled, held_up, unheard

from .visitor import PATIENCE_S, PLENTY, Visitor

pytestmark = pytest.mark.anyio

POISONED = "SP-00050"
POISON = {"target": "sellers", "kind": "poison", "percent": 100, "ttl_s": 600, "seed": 50}


async def begin(visitor: Visitor, fault: dict[str, Any]) -> None:
    assert (await visitor.http.put("/control/api/fault", json=fault)).status_code == 200


async def heal(visitor: Visitor) -> None:
    assert (await visitor.http.delete("/control/api/fault")).status_code == 200


async def throw(visitor: Visitor, name: str, *, on: bool) -> None:
    answer = await visitor.http.put(f"/control/api/switches/{name}", json={"on": on})
    assert answer.status_code == 200, answer.text


async def harm(visitor: Visitor, name: str) -> int:
    return int((await visitor.state())["defences"][name]["harm"]["count"])


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await holds():  # noqa: ASYNC110 - the test watches from outside
            await asyncio.sleep(0.1)


async def bought(visitor: Visitor, orders: int = 1, sku: str = PLENTY) -> list[str]:
    """Orders, one after the other; a customer presses again where the shop is too busy."""
    found = []
    for _ in range(orders):
        answer = await visitor.check_out_in_the_end(await visitor.fill_cart(sku))
        assert answer.status_code == 201, answer.text
        found.append(answer.json()["order_id"])
    return found


async def nothing_is_left(visitor: Visitor) -> bool:
    queues = (await visitor.state())["queues"]
    return not any(queues[name]["left"] for name in ("outbox", "jobs"))


async def book(visitor: Visitor, path: str, order_id: str) -> list[dict[str, Any]]:
    """What stands in an outsider's own book for an order."""
    name = path.split("/")[1]
    found: list[dict[str, Any]] = await visitor.get(f"{visitor.settings.address(name)}{path}?order_id={order_id}")
    return found


async def test_a_paid_order_is_confirmed_billed_and_booked_and_its_page_says_so(visitor: Visitor) -> None:
    orders = await asyncio.gather(*(bought(visitor) for _ in range(4)))
    await until(lambda: nothing_is_left(visitor))
    numbers = []
    for (order_id,) in orders:
        (message,) = await visitor.get(f"/mail/v1/messages?order_id={order_id}")
        assert message["party"] == "a***@example.org"
        assert len(await book(visitor, "/carrier/v1/bookings", order_id)) == 1
        (news,) = await book(visitor, "/sellers/v1/orders", order_id)
        page = (await visitor.http.get(f"/orders/{order_id}")).text
        assert "Confirmation sent" in page
        assert "News to the makers" in page
        assert "Parcel SC000000" in page
        assert news["text"] == PLENTY
        numbers.append(page.partition("Invoice ")[2][:6])
    assert sorted(numbers) == ["000001", "000002", "000003", "000004"], "without gaps, and none twice"
    verdict = (await visitor.get("/control/api/invariants"))["invoiced_and_confirmed_once"]
    assert verdict == {"holds": True, "detail": "4 paid orders, 4 taken on, 4 confirmed"}


async def test_what_was_not_sent_when_the_shop_closed_is_sent_when_it_opens_again(
    opening: Callable[[], AbstractAsyncContextManager[Visitor]],
) -> None:
    async with opening() as visitor:
        await begin(visitor, {"target": "mail", "kind": "fail", "percent": 100, "ttl_s": 600, "seed": 1})
        await begin(visitor, {"target": "fulfilment", "kind": "lost", "percent": 50, "ttl_s": 600, "seed": 3})
        orders = await bought(visitor, 3)
        await visitor.all_holds()
    async with opening() as visitor:
        await until(lambda: nothing_is_left(visitor))
        for order_id in orders:
            assert len(await visitor.get(f"/mail/v1/messages?order_id={order_id}")) == 1
        assert (await visitor.state())["invariants"]["invoiced_and_confirmed_once"]["detail"].endswith("3 confirmed")
        await visitor.all_holds()


async def test_the_outbox_switch(visitor: Visitor) -> None:
    fail = {"target": "fulfilment", "kind": "fail", "percent": 100, "ttl_s": 600, "seed": 1}
    await begin(visitor, fail)
    await bought(visitor, 2)
    assert await harm(visitor, "outbox") == 0, "they wait in the outbox"
    await heal(visitor)
    await until(lambda: nothing_is_left(visitor))
    await throw(visitor, "outbox", on=False)
    await begin(visitor, fail)
    lost = await bought(visitor, 3)
    assert await harm(visitor, "outbox") == 3
    await throw(visitor, "outbox", on=True)
    await bought(visitor, 2)
    assert await harm(visitor, "outbox") == 0
    await heal(visitor)
    await until(lambda: nothing_is_left(visitor))
    assert await harm(visitor, "outbox") == 0
    await only_follow_ups_are_broken(visitor, lost)


async def only_follow_ups_are_broken(visitor: Visitor, orders: list[str]) -> None:
    """Until the customers who were harmed have their money back."""
    verdicts = await visitor.get("/control/api/invariants")
    assert [name for name, verdict in verdicts.items() if not verdict["holds"]] == ["invoiced_and_confirmed_once"]
    for order_id in orders:
        assert (await visitor.http.post(f"/api/v1/orders/{order_id}/cancel")).is_success
    await visitor.settled()
    await visitor.all_holds()


@pytest.mark.nightly
async def test_the_inbox_switch(visitor: Visitor) -> None:
    await begin(visitor, {"target": "fulfilment", "kind": "lost", "percent": 60, "ttl_s": 600, "seed": 1})
    await bought(visitor, 3)
    await until(lambda: nothing_is_left(visitor))
    assert await harm(visitor, "inbox") == 0
    await throw(visitor, "inbox", on=False)
    twice: list[str] = []

    async def is_harmed() -> bool:
        twice.extend(await bought(visitor, 2))
        return await harm(visitor, "inbox") > 0

    await until(is_harmed)
    await until(lambda: nothing_is_left(visitor))
    await throw(visitor, "inbox", on=True)
    await bought(visitor, 3)
    await until(lambda: nothing_is_left(visitor))
    assert await harm(visitor, "inbox") == 0
    await only_follow_ups_are_broken(visitor, twice)


async def dead_letters(visitor: Visitor) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await visitor.get("/control/api/dead-letters"))["letters"]
    return found


@pytest.mark.nightly
async def test_the_jobs_switch_and_a_dead_letter_that_is_redriven(visitor: Visitor) -> None:
    await begin(visitor, POISON)
    poisoned = await bought(visitor, 2, POISONED)
    await bought(visitor, 2)
    await until(lambda: nothing_is_left(visitor))
    assert await harm(visitor, "jobs") == 0
    assert {letter["order_id"] for letter in await dead_letters(visitor)} == set(poisoned)
    first = (await dead_letters(visitor))[0]
    assert (first["job"], first["attempt"]) == ("webhook", 5)
    assert first["reason"].endswith("cannot read this message.")

    await throw(visitor, "jobs", on=False)
    await bought(visitor, 1, POISONED)

    async def is_harmed() -> bool:
        await bought(visitor)
        return await harm(visitor, "jobs") > 0

    await until(is_harmed)
    await throw(visitor, "jobs", on=True)
    await bought(visitor, 2)
    await until(lambda: nothing_is_left(visitor))
    assert await harm(visitor, "jobs") == 0

    await heal(visitor)
    asked = {"json": {"id": first["id"]}}
    assert (await visitor.http.post("/control/api/dead-letters/redrive", **asked)).json() == {"redriven": 1}
    assert (await visitor.http.post("/control/api/dead-letters/redrive", json={})).json() == {"redriven": 2}
    assert (await visitor.http.post("/control/api/dead-letters/redrive", json={"id": 7})).status_code == 422
    await until(lambda: nothing_is_left(visitor))
    assert await dead_letters(visitor) == []
    assert len(await book(visitor, "/sellers/v1/orders", first["order_id"])) == 1
    await visitor.all_holds()


def test_a_webhook_is_signed_by_two_keys_at_once_and_each_of_them_is_enough() -> None:
    newest, older = keys_of(1)
    body, now_us = b'{"order_id": "o-1"}', 1_700_000_000_000_000
    headers = signed("job-1", body, [newest, older], now_us)
    assert verified(headers, body, [newest], now_us)
    assert verified(headers, body, [older], now_us)
    assert not verified(headers, body, keys_of(2), now_us), "keys of another shop"
    assert not verified(headers, body + b" ", [newest, older], now_us)
    assert not verified({**headers, "webhook-id": "job-2"}, body, [newest, older], now_us)
    assert not verified(headers, body, [newest], now_us + (TOLERANCE_S + 1) * 1_000_000), "sent again much later"
    assert {known_to(seller, [newest, older]) for seller in "abcdef"} == {newest, older}


def paid(number: int, decided_us: int = 10) -> dict[str, Any]:
    return {"order_id": f"o{number}", "decided_at_us": decided_us}


def test_an_order_is_unheard_of_when_no_outbox_may_hold_it() -> None:
    orders = [paid(number) for number in range(4)]
    assert unheard(orders, {"o0"}, undelivered=3) == 0
    assert unheard(orders, {"o0"}, undelivered=1) == 2
    assert unheard(orders, {"o0", "o1", "o2", "o3"}, undelivered=2) == 0


def test_what_a_ledger_has_beyond_the_first_is_too_many() -> None:
    assert doubled([paid(0), paid(1), paid(2)], {"o0": 1, "o1": 3, "o9": 9}) == 2


def test_a_customer_is_held_up_only_by_attempts_without_end() -> None:
    within, beyond = [20] * (TRIES_KNOWN - 1), [20] * TRIES_KNOWN
    assert held_up([paid(0), paid(1)], {"o0"}, [beyond]) == 1
    assert held_up([paid(0), paid(1)], {"o0"}, [within, within]) == 0, "no message was tried too often"
    assert held_up([paid(1, decided_us=30)], set(), [beyond]) == 0, "paid after the attempts"
