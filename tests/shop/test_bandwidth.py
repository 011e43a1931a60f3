"""What the gateway spares its clients: bytes, and round trips."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import brotli
import httpx
import pytest
import zstandard

import shop.gateway.defences
from sdpatterns import per_minute

from .visitor import DROP, PLENTY, Visitor, checkout_body, new_name

pytestmark = pytest.mark.anyio

LIST = "/api/v1/products?limit=50"


def unzstd(body: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(body)


async def raw(visitor: Visitor, path: str, **headers: str) -> tuple[httpx.Response, bytes]:
    """An answer and its body as it came over the wire."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = visitor.http.build_request("GET", path, headers=named)
    response = await visitor.http.send(request, stream=True)
    body = b"".join([part async for part in response.aiter_raw()])
    await response.aclose()
    return response, body


@pytest.mark.parametrize(("coding", "decode"), [("gzip", gzip.decompress), ("br", brotli.decompress), ("zstd", unzstd)])
async def test_a_list_comes_in_the_coding_that_is_asked_for(
    shared: Visitor, coding: str, decode: Callable[[bytes], bytes]
) -> None:
    plain, body = await raw(shared, LIST, accept_encoding="identity")
    assert "content-encoding" not in plain.headers
    coded, small = await raw(shared, LIST, accept_encoding=coding)
    assert coded.headers["content-encoding"] == coding
    assert "accept-encoding" in coded.headers["vary"].lower()
    assert decode(small) == body
    assert len(small) < len(body) / 3


@pytest.mark.parametrize("path", ["/", "/static/shop.css"])
async def test_pages_and_styles_are_coded_too(shared: Visitor, path: str) -> None:
    coded, _ = await raw(shared, path, accept_encoding="gzip, br, zstd")
    assert coded.headers["content-encoding"] in ("gzip", "br", "zstd")


@pytest.mark.parametrize("path", [LIST, f"/api/v1/products/{PLENTY}", "/api/v1/carts/somebody"])
@pytest.mark.parametrize("coding", ["identity", "zstd"])
async def test_an_unchanged_answer_is_a_304(shared: Visitor, path: str, coding: str) -> None:
    first, _ = await raw(shared, path, accept_encoding=coding)
    again, body = await raw(shared, path, accept_encoding=coding, if_none_match=first.headers["etag"])
    assert (again.status_code, body, again.headers["etag"]) == (304, b"", first.headers["etag"])
    changed, _ = await raw(shared, path, accept_encoding=coding, if_match='"of yesterday"')
    assert changed.status_code == 412


async def test_a_tag_changes_with_what_it_is_of(shared: Visitor) -> None:
    cart_id = new_name("cart")
    path = f"/api/v1/carts/{cart_id}"
    before, _ = await raw(shared, path)
    await shared.http.put(f"{path}/items/{PLENTY}", json={"quantity": 1})
    after, _ = await raw(shared, path, if_none_match=before.headers["etag"])
    assert after.status_code == 200


async def batch(visitor: Visitor, *requests: dict[str, Any]) -> dict[str, dict[str, Any]]:
    response = await visitor.http.post("/api/v1/batch", json=list(requests))
    assert response.status_code == 200, response.text
    return {answer["id"]: answer for answer in response.json()}


async def test_many_requests_in_one_each_with_its_own_status(shared: Visitor) -> None:
    item = f"/api/v1/carts/{new_name('cart')}/items/{PLENTY}"
    got = await batch(
        shared,
        {"id": "product", "method": "GET", "path": f"/api/v1/products/{DROP}?fields=sku"},
        {"id": "nothing", "method": "GET", "path": "/api/v1/products/nobody"},
        {"id": "wrong", "method": "PUT", "path": item, "body": {"quantity": 0}},
        {"id": "batch", "method": "POST", "path": "/api/v1/batch", "body": []},
    )
    expected = {"product": 200, "nothing": 404, "wrong": 422, "batch": 400}
    assert {name: answer["status"] for name, answer in got.items()} == expected
    assert got["product"]["body"] == {"sku": DROP}


async def test_a_checkout_in_a_batch_is_carried_out_once(visitor: Visitor) -> None:
    buy = {"method": "POST", "path": "/api/v1/checkout", "body": checkout_body(await visitor.fill_cart())}
    keyed = {**buy, "headers": {"Idempotency-Key": '"in-a-batch"'}}
    got = await batch(visitor, {"id": "a", **keyed}, {"id": "b", **keyed}, {"id": "keyless", **buy})
    assert [got[name]["status"] for name in ("a", "b", "keyless")] == [201, 201, 400]
    assert got["a"]["body"] == got["b"]["body"]
    assert await visitor.settled() == {"paid": 1}
    await visitor.all_holds()


async def test_each_request_of_a_batch_counts_for_the_limiter(
    opening: Callable[[], AbstractAsyncContextManager[Visitor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A limit so small that it strikes on the slowest machine.
    monkeypatch.setattr(shop.gateway.defences, "RATE", per_minute(30))
    requests = [{"id": str(number), "method": "GET", "path": "/livez"} for number in range(20)]
    async with opening() as visitor:
        statuses = [answer["status"] for _ in range(3) for answer in (await batch(visitor, *requests)).values()]
    assert statuses[:20] == [200] * 20
    assert statuses.count(429) >= 20
