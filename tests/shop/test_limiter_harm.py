"""What one client may have of what all share: streams held open, and words on a product's page."""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import pytest

from shop.gateway.defences import REVIEWS_EACH, STREAMS_EACH

from .visitor import PLENTY, Visitor, new_name

pytestmark = pytest.mark.anyio
HTML = {"Accept": "text/html"}


def somebody(visitor: Visitor, source: str) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(local_address=source)
    return httpx.AsyncClient(base_url=visitor.settings.public, transport=transport, timeout=120)


async def watch(stack: contextlib.AsyncExitStack, http: httpx.AsyncClient) -> httpx.Response:
    return await stack.enter_async_context(http.stream("GET", "/control/live"))


async def test_one_client_holds_a_few_streams_and_others_still_get_theirs(shared: Visitor) -> None:
    async with asyncio.timeout(120), contextlib.AsyncExitStack() as stack:
        greedy = await stack.enter_async_context(somebody(shared, "127.0.0.31"))
        held = [await watch(stack, greedy) for _ in range(STREAMS_EACH)]
        assert {answer.status_code for answer in held} == {200}
        refused = await watch(stack, greedy)
        assert refused.status_code == 429
        assert refused.headers["content-type"] == "application/problem+json"
        assert int(refused.headers["retry-after"]) >= 1
        other = await stack.enter_async_context(somebody(shared, "127.0.0.32"))
        assert (await watch(stack, other)).status_code == 200
        await held[0].aclose()
        for _ in range(100):  # the gateway hears of it at the next event
            again = await watch(stack, greedy)
            if again.status_code == 200:
                break
            await asyncio.sleep(0.1)
        assert again.status_code == 200


def words(text: str) -> dict[str, str]:
    return {"key": new_name("said"), "author": "Ada", "stars": "4", "text": text}


async def test_one_client_cannot_fill_a_page_with_reviews(shared: Visitor) -> None:
    async with somebody(shared, "127.0.0.33") as greedy, somebody(shared, "127.0.0.34") as other:
        for number in range(REVIEWS_EACH.limit):
            sent = await greedy.post(f"/products/{PLENTY}/reviews", data=words(f"word {number}"), headers=HTML)
            assert sent.status_code == 303, sent.text
        refused = await greedy.post(f"/products/{PLENTY}/reviews", data=words("one too many"), headers=HTML)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert "one too many" in refused.text, "the form still holds what was written"
        assert "send it again later" in refused.text
        assert (await other.post(f"/products/{PLENTY}/reviews", data=words("hello"), headers=HTML)).status_code == 303
        shown = (await other.get(f"/products/{PLENTY}")).text
        assert "one too many" not in shown
