from __future__ import annotations

import inspect
from contextlib import nullcontext
from typing import Any

import anyio
import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from sdpatterns import listen
from sdpatterns.core.notices import Notice
from sdpatterns.testing.clock import VirtualClock
from sdpatterns.web.asgi.metrics import MetricsMiddleware
from sdpatterns.web.notices import RequestFinished
from tests.web.asgi.asking import answer, client

pytestmark = pytest.mark.anyio


async def test_a_request_is_told_once_with_the_pattern_of_its_route() -> None:
    seen: list[Notice] = []

    async def order(_request: Any) -> PlainTextResponse:
        clock.advance(0.25)
        return PlainTextResponse("fine", status_code=201)

    app = MetricsMiddleware(Starlette(routes=[Route("/orders/{order_id}", order)]), name="ordering")
    with VirtualClock() as clock, listen(seen.append):
        async with client(app) as http:
            await http.get("/orders/4711")
            await http.get("/nowhere/4712")
    assert seen == [
        RequestFinished(name="ordering", method="GET", route="/orders/{order_id}", status=201, duration_s=0.25),
        RequestFinished(name="ordering", method="GET", route="", status=404, duration_s=0.0),
    ]
    assert seen[0].labels() == {"name": "ordering", "method": "GET", "route": "/orders/{order_id}", "status": "201"}
    assert seen[0].measures() == {"duration_s": 0.25}
    assert seen[0].event == "request_finished"


async def told(app: Any, method: str = "GET") -> list[RequestFinished]:
    seen: list[Notice] = []
    with listen(seen.append):
        async with client(MetricsMiddleware(app, name="shop"), raise_app_exceptions=False) as http:
            await http.request(method, "/")
    assert all(isinstance(notice, RequestFinished) for notice in seen)
    return seen  # type: ignore[return-value]


async def test_an_application_that_raises_is_a_500_whatever_it_had_sent() -> None:
    async def breaks(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise OSError("broken")

    assert [notice.status for notice in await told(breaks)] == [500]


async def test_a_strange_method_takes_no_label_of_its_own() -> None:
    async def fine(_scope: Any, _receive: Any, send: Any) -> None:
        await answer(send)

    assert [notice.method for notice in await told(fine, "BREW")] == ["other"]


async def test_a_request_that_is_cancelled_is_told_as_broken_off() -> None:
    seen: list[Any] = []

    async def hangs(_scope: Any, _receive: Any, _send: Any) -> None:
        await anyio.sleep(60)

    app = MetricsMiddleware(hangs, name="shop")
    with listen(seen.append), anyio.move_on_after(0.01):
        await app({"type": "http", "method": "GET"}, None, None)  # type: ignore[arg-type]
    assert [notice.status for notice in seen] == [499]


async def test_without_a_listener_and_outside_http_nothing_is_measured() -> None:
    calls: list[str] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        calls.append(scope["type"])

    door = MetricsMiddleware(app, name="shop")
    await door({"type": "http"}, None, None)  # type: ignore[arg-type]
    seen: list[Any] = []
    with listen(seen.append):
        await door({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert (calls, seen) == (["http", "lifespan"], [])


async def test_a_listener_that_comes_later_hears_what_is_served_then() -> None:
    async def function(_scope: Any, _receive: Any, _send: Any) -> None:
        pass

    def returns_an_awaitable(scope: Any, receive: Any, send: Any) -> Any:
        return function(scope, receive, send)

    # Also an application that is no async function itself, and one inside the same middleware.
    for app in (function, Starlette(), returns_an_awaitable, MetricsMiddleware(function, name="inner")):
        door = MetricsMiddleware(app, name="shop")
        seen: list[Any] = []
        for is_heard in (False, True, False):
            with listen(seen.append) if is_heard else nullcontext():
                assert inspect.iscoroutinefunction(door.__call__), "a server knows ASGI 3 by this"
                await door({"type": "http", "method": "GET", "path": "/", "headers": []}, None, drop)  # type: ignore[arg-type]
        names = [notice.name for notice in seen]
        assert names == (["inner", "shop"] if isinstance(app, MetricsMiddleware) else ["shop"])


async def drop(_message: Any) -> None:
    pass


async def test_what_is_mounted_is_told_with_its_place_and_never_with_a_value() -> None:
    async def fine(_request: Any) -> PlainTextResponse:
        return PlainTextResponse("fine")

    async def raw(_scope: Any, _receive: Any, send: Any) -> None:
        await answer(send)

    inside = [Route("/r/{id}", fine), Mount("/raw", raw)]
    api, below = FastAPI(), FastAPI()
    below.add_api_route("/items/{id}", lambda: None)
    api.mount("/sub", below)
    api.mount("/raw", raw)
    api.mount("/m", Starlette(routes=inside))
    api.mount("/u/{uid}", Starlette(routes=inside))
    asked = ["/sub/items/3", "/sub/nowhere", "/raw/x/y", "/m/r/1", "/m/raw/x", "/u/7/r/2", "/u/7/raw/x", "/nowhere"]
    seen: list[Any] = []
    with listen(seen.append):
        async with client(MetricsMiddleware(api, name="shop")) as http:
            for path in asked:
                await http.get(path)
    assert [notice.route for notice in seen] == [
        "/sub/items/{id}", "/sub", "/raw", "/m/r/{id}", "/m/raw", "/r/{id}", "/raw", "",
    ]  # fmt: skip


async def test_each_place_of_a_router_is_a_route_of_its_own_in_fastapi() -> None:
    items, teams, app, mounted = APIRouter(), APIRouter(prefix="/teams/{team}"), FastAPI(), FastAPI()

    @items.get("/items/{id}")
    async def item(id: str) -> str:  # noqa: A002 - the parameter of the route
        return id

    teams.include_router(items)
    app.include_router(items, prefix="/v1")
    app.include_router(items, prefix="/v2")
    app.include_router(teams, prefix="/v2")
    mounted.include_router(items, prefix="/in")
    mounted.mount("/deep", Starlette(routes=[Route("/x/{y}", lambda _request: PlainTextResponse("fine"))]))
    app.mount("/mounted", mounted)
    app.get("/plain/{id}")(item)
    seen: list[Notice] = []
    with listen(seen.append):
        async with client(MetricsMiddleware(app, name="shop")) as http:
            for path in ("/v1", "/v2", "/v2/teams/a", "/mounted/in"):
                assert (await http.get(f"{path}/items/7")).status_code == 200
            for path in ("/plain/7", "/mounted/deep/x/7"):
                assert (await http.get(path)).status_code == 200
    assert [notice.route for notice in seen if isinstance(notice, RequestFinished)] == [
        "/v1/items/{id}", "/v2/items/{id}", "/v2/teams/{team}/items/{id}", "/mounted/in/items/{id}", "/plain/{id}",
        "/mounted/deep/x/{y}",
    ]  # fmt: skip
