"""What is the shop's own business is done behind the public door, and under the shop's own name."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx
import pytest

from .visitor import Visitor, new_name

pytestmark = pytest.mark.anyio

INNER = (
    "/internal/answers",
    "/internal/limiter",
    "/internal/pulse",
    "/internal/traces",
    "/internal/traces/0123",
)
ALSO = ("/%69nternal/pulse", "//internal/pulse", "/internal/../internal/pulse", "/admin/fault")


@pytest.mark.parametrize("path", [*INNER, *ALSO])
async def test_unknown_clients_find_no_inner_route(shared: Visitor, path: str) -> None:
    assert (await shared.http.get(path)).status_code == 404
    batch = await shared.http.post("/api/v1/batch", json={"requests": [{"method": "GET", "path": path}]})
    assert '"status": 200' not in batch.text
    assert '"status":200' not in batch.text


async def test_unknown_clients_cannot_use_a_switch(shared: Visitor) -> None:
    answer = await shared.http.put("/internal/switches/limiter", json={"on": False})
    assert answer.status_code == 404
    assert (await shared.get("/control/api/state"))["defences"]["limiter"]["on"]


@pytest.mark.parametrize("path", INNER)
async def test_the_control_room_reaches_internal_paths_on_a_port_of_its_own(shared: Visitor, path: str) -> None:
    assert urlsplit(shared.settings.address("gateway")).port != urlsplit(shared.settings.public).port
    async with httpx.AsyncClient(base_url=shared.settings.address("gateway")) as inside:
        assert (await inside.get(path)).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[::1].evil.example"])
async def test_the_control_room_is_not_served_under_another_host(shared: Visitor, host: str) -> None:
    """A page of theirs may have its name lead here; what its script sends then bears that name."""
    fault = {"target": "psp", "kind": "slow", "percent": 1, "ttl_s": 1, "seed": 1}
    there = {"host": host}
    answers = [
        await shared.http.put("/control/api/fault", json=fault, headers=there),
        await shared.http.get("/control/api/state", headers=there),
        await shared.http.put("/control/api/load", json={"visitors": 0}, headers=there),
    ]
    for context in ("control", "psp", "ordering"):
        async with httpx.AsyncClient(base_url=shared.settings.address(context)) as http:
            answers.append(await http.get("/readyz", headers=there))
    assert [answer.status_code for answer in answers] == [421] * len(answers)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:8000", "[::1]:8000", "shop", "shop:80"])
async def test_hosts_that_belong_to_the_shop_are_accepted(shared: Visitor, host: str) -> None:
    assert (await shared.http.get("/control/api/state", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/control/api/fault"),
        ("PUT", "/control/api/load"),
        ("PUT", "/control/api/switches/breaker"),
        ("POST", "/control/api/deliveries"),
        ("POST", "/control/api/scenarios/double-click"),
        ("PUT", "/api/v1/carts/a/items/SP-00040"),
        ("POST", "/api/v1/checkout"),
    ],
)
async def test_a_page_of_another_site_cannot_send_a_request_without_preflight(
    shared: Visitor, method: str, path: str
) -> None:
    """A browser sends these media types for any site. For JSON it asks first, and gets no permission."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "*/*"):
        foreign = {"origin": "http://evil.example", "content-type": kind, "idempotency-key": f'"{new_name("key")}"'}
        sent = await shared.http.request(method, path, content=b'{"visitors": 0, "on": true}', headers=foreign)
        assert sent.status_code == 415, (kind, sent.text)
    asked = {"origin": "http://evil.example", "access-control-request-method": method}
    leave = await shared.http.options(path, headers=asked)
    assert not {name for name in leave.headers if name.startswith("access-control-")}
