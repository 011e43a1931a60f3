"""The edges that the registry declares are those of a shop that runs: network policies open no other ones."""

from __future__ import annotations

import asyncio
import contextlib
import re

import pytest

from sdpatterns import listen
from sdpatterns.core.notices import Notice
from shop.settings import CALLS, WATCHING
from shop.stage.pulse import CallFinished

from .visitor import PLENTY, Visitor, new_name

pytestmark = pytest.mark.anyio

BETWEEN_REPLICAS = ("payments", "payments")
"""Only a shop with several replicas of payments has this edge: each tells the others which cards it has blocked."""
PATIENCE_S = 120.0


def hidden(text: str) -> dict[str, str]:
    """The hidden fields of a page's forms."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', text))


@pytest.mark.nightly
async def test_a_purchase_and_a_scenario_use_each_declared_edge_and_no_other(visitor: Visitor) -> None:
    seen: set[tuple[str, str]] = set()

    def hear(notice: Notice) -> None:
        if isinstance(notice, CallFinished):
            seen.add((notice.name, notice.to))

    declared = {(caller, callee) for caller, callees in CALLS.items() for callee in callees}
    # What the control room asks is no traffic of the shop; it may ask everyone.
    wanted = {edge for edge in declared if WATCHING not in edge} - {BETWEEN_REPLICAS}
    with listen(hear):
        await _shops(visitor)
        played = await visitor.http.post("/control/api/scenarios/double-click", json={"pace": 50, "size": 0.1})
        assert played.status_code == 202, played.text
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                # What follows an order is done by jobs, later.
                while wanted - seen or not await _has_ended(visitor):  # noqa: ASYNC110 - watches from outside
                    await asyncio.sleep(0.1)
    assert seen == wanted


async def _has_ended(visitor: Visitor) -> bool:
    return bool((await visitor.get("/control/api/scenario"))["scenario"]["ended"])


async def _shops(visitor: Visitor) -> None:
    """A visitor looks around, writes a review, buys, and looks at the order and at what others know of it."""
    page = (await visitor.http.get(f"/products/{PLENTY}")).text
    review = {**hidden(page), "author": "Mira", "stars": "4", "text": "Solid.", "key": new_name("review")}
    sent = await visitor.http.post(f"/products/{PLENTY}/reviews", data=review, headers={"Accept": "text/html"})
    assert sent.is_redirect, sent.text
    order = await visitor.check_out_in_the_end(await visitor.fill_cart())
    assert order.status_code == 201, order.text
    order_id = order.json()["order_id"]
    for path in (
        f"/orders/{order_id}",
        f"/mail/v1/messages?order_id={order_id}",
        f"/psp/v1/charges?order_id={order_id}",
    ):
        assert (await visitor.http.get(path)).is_success
