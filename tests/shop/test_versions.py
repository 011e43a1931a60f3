"""Products in two versions: chosen by path, or by the header Accept-Version."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from .visitor import PLENTY, Visitor

pytestmark = pytest.mark.anyio


async def asked(visitor: Visitor, path: str, version: str = "") -> httpx.Response:
    return await visitor.http.get(path, headers={"Accept-Version": version} if version else {})


@pytest.mark.parametrize("path", [f"/{PLENTY}", "?limit=3&sort=price"])
async def test_the_header_chooses_what_the_path_names(shared: Visitor, path: str) -> None:
    first, second = [await shared.get(f"/api/{version}/products{path}") for version in ("v1", "v2")]
    assert first != second
    assert (await asked(shared, f"/api/products{path}")).json() == first
    assert (await asked(shared, f"/api/products{path}", "1")).json() == first
    chosen = await asked(shared, f"/api/products{path}", "2")
    assert chosen.json() == second
    assert "accept-version" in chosen.headers["vary"].lower()


async def test_the_second_version_shows_a_price_as_one_thing(shared: Visitor) -> None:
    first: dict[str, Any] = await shared.get(f"/api/v1/products/{PLENTY}")
    price = {"amount_minor": first.pop("price_minor"), "currency": first.pop("currency")}
    assert await shared.get(f"/api/v2/products/{PLENTY}") == {**first, "price": price}
    page = await shared.get("/api/v2/products?limit=2&fields=sku,price(amount_minor)")
    assert [item.keys() for item in page["items"]] == [{"sku", "price"}] * 2
    assert all(item["price"].keys() == {"amount_minor"} for item in page["items"])


@pytest.mark.parametrize("path", ["/api/v1/products", "/api/v2/products", "/api/products"])
async def test_a_page_is_its_items_and_the_next_one(shared: Visitor, path: str) -> None:
    assert (await shared.get(path)).keys() == {"items", "next"}


@pytest.mark.parametrize(("version", "status"), [("3", 406), ("two", 400), ("", 200)])
async def test_an_invalid_version_is_refused(shared: Visitor, version: str, status: int) -> None:
    answer = await asked(shared, "/api/products", version)
    assert answer.status_code == status
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["versions"] == ["1", "2"]


@pytest.mark.parametrize("fields", ["price_minor", "sku,", "price(cents)", " ", "sku(a)"])
async def test_fields_that_version_two_does_not_have(shared: Visitor, fields: str) -> None:
    answer = await shared.http.get("/api/v2/products", params={"fields": fields})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/fields")


@pytest.mark.parametrize("start", ["/api/v1/products", "/api/v2/products", "/api/products"])
async def test_links_lead_through_all_pages(shared: Visitor, start: str) -> None:
    answer = await asked(shared, f"{start}?limit=100&fields=sku&q=oak%20lamp")
    seen = [item["sku"] for item in answer.json()["items"]]
    pages = 1
    while "next" in answer.links:
        assert answer.links["first"]["url"] == f"{start}?limit=100&fields=sku&q=oak+lamp"
        answer = await asked(shared, answer.links["next"]["url"])
        seen += [item["sku"] for item in answer.json()["items"]]
        pages += 1
    assert len(seen) == len(set(seen)) > 0
    everything = await asked(shared, f"{start}?limit=100&fields=sku&q=lamp")
    assert everything.links["next"]["url"].startswith(f"{start}?")
