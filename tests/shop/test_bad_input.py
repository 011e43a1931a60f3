"""Nonsense gets a 4xx problem, and never a 5xx."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from .visitor import DROP, PLENTY, Visitor, checkout_body, new_name

pytestmark = pytest.mark.anyio

JSON = {"content-type": "application/json"}


def assert_problem(response: httpx.Response, *statuses: int) -> dict[str, Any]:
    assert response.status_code in statuses, (response.status_code, response.text[:300])
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["status"] == response.status_code
    assert document.keys() >= {"type", "title", "detail"}
    return document


@pytest.mark.parametrize("quantity", [0, -1, 10**9, 1.5, "x", "2", None, True, [], {}, 10**400, 1e308])
async def test_invalid_quantities_are_refused(shared: Visitor, quantity: object) -> None:
    body = json.dumps({"quantity": quantity})
    response = await shared.http.put(f"/api/v1/carts/c/items/{PLENTY}", content=body, headers=JSON)
    document = assert_problem(response, 422)
    assert document["errors"][0]["pointer"] == "/quantity"
    assert (await shared.get("/api/v1/carts/c"))["items"] == []


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", JSON, 400),
        (b"{", JSON, 400),
        (b"\xff\xfe", JSON, 400),
        (b'{"quantity": NaN}', JSON, 400),
        (b'{"quantity": 1' + b"0" * 5_000 + b"}", JSON, 400),
        (b"[" * 30_000, JSON, 400),
        (b"[]", JSON, 422),
        (b"null", JSON, 422),
        (b"{}", JSON, 422),
        (b'{"quantity": 1}', {"content-type": "text/plain"}, 415),
        (b'{"quantity": 1}', {}, 415),
        (b'{"quantity": 1, "x": "' + b"x" * 2_000_000 + b'"}', JSON, 413),
    ],
    ids=[
        "missing",
        "cut",
        "no utf-8",
        "NaN",
        "long digits",
        "deep",
        "list",
        "null",
        "empty",
        "text",
        "untyped",
        "2 MB",
    ],
)
async def test_invalid_bodies_are_refused(shared: Visitor, body: bytes, headers: dict[str, str], status: int) -> None:
    response = await shared.http.put(f"/api/v1/carts/c/items/{PLENTY}", content=body, headers=headers)
    assert_problem(response, status)


async def test_a_body_of_two_megabytes_without_a_length(shared: Visitor) -> None:
    async def chunks() -> Any:
        for _ in range(32):
            yield b" " * 65_536

    response = await shared.http.put(f"/api/v1/carts/c/items/{PLENTY}", content=chunks(), headers=JSON)
    assert_problem(response, 413)


@pytest.mark.parametrize(
    "path",
    [
        "NOPE",
        "SP-99999",
        "SP-00001%00",
        "SP-00001%0A",
        "%2e%2e",
        "..%2F..%2Fetc",
        "%F0%9F%92%A9",
        "x" * 300,
        "' OR 1=1 --",
    ],
)
async def test_products_that_do_not_exist(shared: Visitor, path: str) -> None:
    assert_problem(await shared.http.get(f"/api/v1/products/{path}"), 404)
    assert_problem(await shared.http.put(f"/api/v1/carts/c/items/{path}", json={"quantity": 1}), 404)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=101",
        "limit=x",
        "limit=1.5",
        "limit=%C2%B2",
        "cursor=!!",
        "cursor=%00",
        "cursor=%F0",
        "fields=password",
        "q=%00",
        "q=%0A%07x",
        "q=" + "x" * 500,
        "category=nope",
    ],
)
async def test_invalid_list_parameters_are_refused(shared: Visitor, query: str) -> None:
    assert_problem(await shared.http.get(f"/api/v1/products?{query}"), 422)


@pytest.mark.parametrize("query", ["q=%25", "q=_", "q=%5C", "q='", "q=", "cursor="])
async def test_unusual_characters_can_be_searched(shared: Visitor, query: str) -> None:
    assert (await shared.http.get(f"/api/v1/products?{query}")).status_code == 200


_WRONG: list[tuple[tuple[str, ...], object]] = [
    (("cart_id",), 7),
    (("cart_id",), "a/b"),
    (("cart_id",), "x" * 65),
    (("email",), "nobody"),
    (("email",), "a@b\u0000.de"),
    (("email",), "x" * 300 + "@example.org"),
    (("address",), None),
    (("address",), []),
    (("address", "name"), ""),
    (("address", "name"), "   "),
    (("address", "name"), "Ada\u0007"),
    (("address", "name"), "Ada\ud800"),
    (("address", "name"), "x" * 1_000),
    (("address", "country"), "Germany"),
    (("address", "country"), "de"),
    (("card",), "4242424242424242"),
    (("card", "number"), "4242424242424241"),
    (("card", "number"), 4242424242424242),
    (("card", "number"), "٤٢٤٢٤٢٤٢٤٢٤٢٤٢٤٢"),
    (("card", "expiry"), "13/30"),
    (("card", "expiry"), "01/20"),
    (("card", "expiry"), "12/2030"),
    (("card", "cvc"), "12"),
    (("card", "cvc"), 123),
    (("card", "cvc"), "١٢٣"),
    (("card", "expiry"), "12/٣٠"),
]


@pytest.mark.parametrize(
    ("where", "value"), _WRONG, ids=lambda value: ".".join(value) if isinstance(value, tuple) else None
)
async def test_checkouts_with_an_invalid_field_are_refused(
    shared: Visitor, where: tuple[str, ...], value: object
) -> None:
    body = checkout_body(await shared.fill_cart(DROP))
    target = body
    for name in where[:-1]:
        target = target[name]
    target[where[-1]] = value
    headers = {**JSON, "Idempotency-Key": f'"{new_name("key")}"'}
    response = await shared.http.post("/api/v1/checkout", content=json.dumps(body), headers=headers)
    document = assert_problem(response, 422)
    assert any(error["pointer"].startswith("/" + "/".join(where)) for error in document["errors"])
    assert await shared.free(DROP) == 10
    assert await shared.settled() == {}


async def test_a_refusal_never_repeats_the_card(shared: Visitor) -> None:
    body = checkout_body(await shared.fill_cart())
    body["card"]["number"] = "4242424242424241"
    response = await shared.http.post("/api/v1/checkout", json=body, headers={"Idempotency-Key": '"k"'})
    assert_problem(response, 422)
    assert "4242424242424241" not in response.text


@pytest.mark.parametrize("key", [None, "", "unquoted", '"', '""', '"a" "b"', '"\u00e9"', "7", f'"{"x" * 5000}"'])
async def test_invalid_keys_are_refused(shared: Visitor, key: str | None) -> None:
    headers = {} if key is None else {"Idempotency-Key": key.encode("latin-1")}
    cart_id = await shared.fill_cart()
    response = await shared.http.post("/api/v1/checkout", json=checkout_body(cart_id), headers=headers)
    assert_problem(response, 400)


async def test_a_cart_with_nothing_in_it(shared: Visitor) -> None:
    assert_problem(await shared.check_out("never-filled"), 422)


@pytest.mark.parametrize("order_id", ["ord_0", "%00", "x" * 500, "..", "ord_'"])
async def test_orders_that_do_not_exist(shared: Visitor, order_id: str) -> None:
    response = await shared.http.get(f"/api/v1/orders/{order_id}")
    assert response.status_code == 404


@pytest.mark.parametrize(
    "fault",
    [
        {},
        {"target": "db", "kind": "fail", "percent": 1, "ttl_s": 1, "seed": 1},
        {"target": "psp", "kind": "explode", "percent": 1, "ttl_s": 1, "seed": 1},
        {"target": "psp", "kind": "fail", "percent": 101, "ttl_s": 1, "seed": 1},
        {"target": "psp", "kind": "fail", "percent": 1, "ttl_s": 10**9, "seed": 1},
        {"target": "psp", "kind": "fail", "percent": 1, "ttl_s": 1, "seed": "x"},
    ],
)
async def test_invalid_faults_are_refused(shared: Visitor, fault: object) -> None:
    assert_problem(await shared.http.put("/control/api/fault", json=fault), 422)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/api/v1/nothing", 404), ("DELETE", "/api/v1/products", 405), ("GET", "/api/v1/checkout", 405)],
)
async def test_invalid_paths_and_methods_are_refused(shared: Visitor, method: str, path: str, status: int) -> None:
    assert_problem(await shared.http.request(method, path), status)


async def test_internal_paths_are_not_reachable_from_outside(shared: Visitor) -> None:
    for path in ("/internal/stock?skus=a", "/internal/ledger", "/admin/fault", "/psp/v1/ledger"):
        assert_problem(await shared.http.get(path), 404)


async def test_a_form_from_another_site_is_refused(shared: Visitor) -> None:
    headers = {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}
    response = await shared.http.post("/cart/items", data={"sku": PLENTY}, headers=headers)
    assert response.status_code == 403
