"""A checkout that runs out of time, wherever that strikes, is undone; one that finds no place is told so."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

import shop.ordering.defences
from sdpatterns.messaging.saga import SagaHandle
from shop.ordering.service import Ordering
from shop.payments.domain import DOUBT_S
from tests.machine import slowness

from .visitor import DROP, PLENTY, Visitor

pytestmark = pytest.mark.anyio

Opening = Callable[[], AbstractAsyncContextManager[Visitor]]


@pytest.mark.parametrize("deadline_s", [0.02, 0.1, *(pytest.param(s, marks=pytest.mark.long) for s in (0.005, 0.05))])
async def test_a_deadline_at_any_step_leaves_nothing_half_done(
    opening: Opening, monkeypatch: pytest.MonkeyPatch, deadline_s: float
) -> None:
    monkeypatch.setattr(shop.ordering.defences, "CHECKOUT_S", deadline_s)
    async with opening() as visitor:
        carts = [await visitor.fill_cart(DROP) for _ in range(8)]
        responses = await asyncio.gather(*(visitor.check_out(cart) for cart in carts))
        answers = Counter(response.status_code for response in responses)
        assert set(answers) <= {201, 503}
        visitor.shift.ahead_s = DOUBT_S + 1
        ended = await visitor.settled()
        assert ended.get("paid", 0) == answers[201], "who was told that it is undone has not paid"
        assert await visitor.free(DROP) == 10 - ended.get("paid", 0)
        await visitor.all_holds()


async def test_a_checkout_that_finds_the_queue_full_is_refused_at_once(
    opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shop.ordering.defences, "ADMITTED_MAX", 1)
    monkeypatch.setattr(shop.ordering.defences, "QUEUE_MAX", 1)
    async with opening() as visitor:
        carts = [await visitor.fill_cart(PLENTY) for _ in range(8)]
        responses = await asyncio.gather(*(visitor.check_out(cart) for cart in carts))
        busy = [response for response in responses if response.status_code == 503]
        assert busy
        assert {response.json()["type"] for response in busy} == {"/problems/busy"}
        assert {response.status_code for response in responses} == {201, 503}
        assert await visitor.settled() == {"paid": len(responses) - len(busy)}
        await visitor.all_holds()


async def test_a_deadline_after_the_last_step_undoes_nothing(opening: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    done = Ordering._done

    async def never_ends(ordering: Ordering, run: SagaHandle[None]) -> None:
        await done(ordering, run)
        await asyncio.sleep(60)

    # All four steps have to be done by then, also on a busy machine.
    monkeypatch.setattr(shop.ordering.defences, "CHECKOUT_S", 2.0 * slowness())
    monkeypatch.setattr(Ordering, "_done", never_ends)
    async with opening() as visitor:
        response = await visitor.buy()
        assert (response.status_code, response.json()["status"]) == (201, "paid")
        await visitor.all_holds()
