"""Unknown clients: addresses, headers and bodies that no well-behaved client would send."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import urlsplit

import pytest

import shop.bodies

from .visitor import PLENTY, Visitor, new_name

pytestmark = pytest.mark.anyio

FORM = "content-type: application/x-www-form-urlencoded"


async def raw(visitor: Visitor, line: str, *headers: str, body: bytes = b"", length: int | None = None) -> str:
    """Send a request as it stands, which no client library would; gives the status line and all that follows."""
    at = urlsplit(visitor.settings.public)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    lines = [f"{line} HTTP/1.1", "host: shop", "connection: close", *headers]
    if body or length is not None:
        lines.append(f"content-length: {len(body) if length is None else length}")
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
    try:
        async with asyncio.timeout(120):
            return (await reader.read()).decode("utf-8", "replace")
    finally:
        writer.close()


def status(answer: str) -> int:
    return int(answer.split(" ", 2)[1])


@pytest.mark.parametrize(
    "path",
    [
        "/products/.",
        "/products/..",
        "/products/%2e%2e",
        "/orders/.",
        "/orders/..",
        "/api/v1/products/.",
        "/api/v1/products/..",
        "/api/v1/orders/..",
        "/api/v1/carts/.",
        "/api/v1/carts/..",
        "/products/" + "%C3%A9" * 9_000,
        "/api/v1/products/" + "a" * 40_000,
        "/static/%00",
        "/static/../api.py",
        "/static/..%2fapi.py",
    ],
    ids=lambda path: path[:24],
)
async def test_a_name_that_leaves_its_directory_is_not_found(shared: Visitor, path: str) -> None:
    assert status(await raw(shared, f"GET {path}")) == 404


@pytest.mark.parametrize("path", ["/api/v1/carts/c/items/..", "/api/v1/carts/c/items/.", "/api/v1/carts/../items/x"])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_cart_path_that_leaves_its_directory_is_not_found(shared: Visitor, method: str, path: str) -> None:
    answer = await raw(shared, f"{method} {path}", "content-type: application/json", body=b'{"quantity": 1}')
    assert status(answer) == 404


@pytest.mark.parametrize(
    "path",
    [
        "/products?q=" + "a" * 70_000,
        "/products?q=" + "%C3%A9" * 12_000,
        "/api/v1/products?q=" + "a" * 70_000,
        f"/api/v1/products/{PLENTY}?fields=" + "a," * 30_000,
        "/psp/v1/charges?order_id=" + "a" * 70_000,
        "/orders/" + "a" * 70_000,
    ],
    ids=lambda path: path[:24],
)
async def test_a_very_long_address_is_a_4xx(shared: Visitor, path: str) -> None:
    assert 400 <= status(await raw(shared, f"GET {path}")) < 500


@pytest.mark.parametrize("sku", ["..", ".", "%00", "a/b", "%C3%A9" * 9_000])
async def test_a_form_that_names_no_product_says_so(shared: Visitor, sku: str) -> None:
    body = f"sku={sku}&quantity=1".encode()
    assert status(await raw(shared, "POST /cart/items", FORM, body=body)) == 404


@pytest.mark.parametrize("origin", ["http://[", "http://[x]", "//[", "\u00ff", "http://", "a" * 9_000])
async def test_an_origin_that_is_no_address_is_refused(shared: Visitor, origin: str) -> None:
    answer = await raw(shared, "POST /cart/items", FORM, f"origin: {origin}", body=b"sku=SP-00001&quantity=1")
    assert status(answer) == 403


@pytest.mark.parametrize("host", ["[", "]:x", "[::1", "\u00ff", "//", "a@b", "x:99999999"])
@pytest.mark.parametrize("path", ["/cart", "/nowhere", "/products/"])
async def test_an_invalid_host_breaks_nothing(shared: Visitor, host: str, path: str) -> None:
    at = urlsplit(shared.settings.public)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    writer.write(
        f"GET {path} HTTP/1.1\r\nhost: {host}\r\naccept: text/html\r\nconnection: close\r\n\r\n".encode("latin-1")
    )
    answer = (await reader.read()).decode("utf-8", "replace")
    writer.close()
    assert status(answer) < 500


@pytest.mark.parametrize("header", ["accept", "cookie", "idempotency-key", "traceparent", "tracestate", "content-type"])
@pytest.mark.parametrize("value", ["\u00ff\u00fe", "a\u0001b", "a\u00a0", ';;=,"', "x" * 20_000])
async def test_a_header_of_rubbish_breaks_nothing(shared: Visitor, header: str, value: str) -> None:
    body = b'{"quantity": 1}'
    put = f"PUT /api/v1/carts/{new_name('cart')}/items/{PLENTY}"
    for line in (put, "POST /api/v1/checkout", "POST /cart/items"):
        assert status(await raw(shared, line, f"{header}: {value}", body=body)) < 500
    for path in ("/", "/metrics", "/static/shop.css"):
        assert status(await raw(shared, f"GET {path}", f"{header}: {value}")) < 500


@pytest.mark.parametrize("line", [f"PUT /api/v1/carts/c/items/{PLENTY}", "POST /api/v1/checkout", "POST /cart/items"])
async def test_a_body_that_never_comes_is_given_up(shared: Visitor, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setattr(shop.bodies, "BODY_MAX_S", 0.3)
    kind = FORM if line.startswith("POST /cart") else "content-type: application/json"
    began = time.monotonic()
    answer = await raw(shared, line, kind, 'idempotency-key: "slow"', body=b"{", length=1_000)
    assert status(answer) == 408
    assert time.monotonic() - began < 9.0  # it would be ten seconds


async def test_an_invalid_fault_does_not_end_the_current_one(shared: Visitor) -> None:
    await shared.break_provider("slow", ttl_s=600)
    answer = await raw(shared, "PUT /control/api/fault", "content-type: application/json", body=b"null")
    healed = (await shared.state())["fault"] is None
    await shared.heal_provider()
    assert (status(answer), healed) == (422, False)


async def test_a_checkout_without_a_cart_leads_back_to_the_cart(shared: Visitor) -> None:
    answer = await raw(shared, "POST /checkout", FORM, body=b"key=k&email=a")
    assert status(answer) == 303
    assert "location: /cart" in answer.lower()


@pytest.mark.parametrize("length", [65_000, 65_600])
async def test_an_address_of_the_control_room_that_is_too_long(shared: Visitor, length: int) -> None:
    answer = await raw(shared, f"GET /control/{'a' * length}")
    assert status(answer) == (404 if length < 65_535 else 400), answer[:300]


@pytest.mark.parametrize("method", ["OPTIONS", "POST", "PATCH"])
async def test_the_stream_can_only_be_read(shared: Visitor, method: str) -> None:
    assert status(await raw(shared, f"{method} /control/live")) == 405


@pytest.mark.parametrize("method", ["get", "BREW"])
async def test_a_method_that_http_does_not_know_is_no_request(shared: Visitor, method: str) -> None:
    assert status(await raw(shared, f"{method} /control/live")) == 400


async def test_a_head_request_for_the_stream_ends_at_once(shared: Visitor) -> None:
    for _ in range(3):
        answer = await raw(shared, "HEAD /control/live")
        assert (status(answer), "text/event-stream" in answer) == (200, True)
        async with shared.http.stream("GET", "/control/live", timeout=60.0) as stream:
            assert stream.status_code == 200
