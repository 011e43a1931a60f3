"""The cursors of the catalog: those that it gave, for the list that they are of, and no others."""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest

from .visitor import Visitor

pytestmark = pytest.mark.anyio


async def following(visitor: Visitor, query: str) -> str:
    return str((await visitor.get(f"/api/v1/products?{query}"))["next"])


async def refused(visitor: Visitor, query: str) -> None:
    for path in ("/api/v1/products", "/api/v2/products", "/products"):
        answer = await visitor.http.get(f"{path}?{query}")
        assert answer.status_code == 422, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        problem: dict[str, Any] = answer.json()
        assert [error["pointer"] for error in problem["errors"]] == ["/cursor"]


async def test_a_client_cannot_make_a_cursor(shared: Visitor) -> None:
    await refused(shared, "cursor=" + base64.urlsafe_b64encode(b"0.SP-00100").decode().rstrip("="))
    given = await following(shared, "limit=5")
    assert (await shared.get(f"/api/v1/products?limit=5&cursor={given}"))["items"]
    for place in (0, len(given) // 2, -2):
        other = "A" if given[place] != "A" else "B"
        changed = list(given)
        changed[place] = other
        await refused(shared, f"limit=5&cursor={''.join(changed)}")


@pytest.mark.parametrize(
    "other", ["sort=price", "category=Audio", "q=lamp", "maker=Vdara", "price_below=5000&price=0-5000"]
)
async def test_a_cursor_is_valid_only_for_its_own_list(shared: Visitor, other: str) -> None:
    given = await following(shared, "limit=5")
    await refused(shared, f"{other}&cursor={given}")
    page = await shared.get(
        f"/api/v1/products?limit=7&fields=sku&cursor={given}"
    )  # the size of a page may change from request to request
    assert [item["sku"] for item in page["items"]] == [f"SP-{number:05d}" for number in range(6, 13)]


async def test_a_product_that_sells_out_does_not_invalidate_a_cursor(shared: Visitor) -> None:
    async with httpx.AsyncClient(base_url=shared.settings.address("catalog")) as http:
        given = (await http.get("/internal/listing?limit=5&without=SP-00002")).json()["next"]
        page = (await http.get(f"/internal/listing?limit=1&without=SP-00002,SP-00007&cursor={given}")).json()
    assert [item["sku"] for item in page["items"]] == ["SP-00008"]


async def test_a_cursor_is_valid_after_a_restart(opening: Callable[[], AbstractAsyncContextManager[Visitor]]) -> None:
    async with opening() as visitor:
        given = await following(visitor, "limit=5")
    async with opening() as visitor:
        assert (await visitor.get(f"/api/v1/products?limit=1&cursor={given}"))["items"][0]["sku"] == "SP-00006"
