"""`by_header` names the header that a limit counts by, for ASGI and for WSGI."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from sdpatterns import RateLimiter, per_minute
from sdpatterns.web.asgi.ratelimit import RateLimitMiddleware, by_header
from sdpatterns.web.wsgi import ratelimit as wsgi
from tests.web.asgi.asking import answer
from tests.web.asgi.asking import client as asgi_client
from tests.web.wsgi.serving import client as wsgi_client

pytestmark = pytest.mark.anyio


async def app(scope: Any, receive: Any, send: Any) -> None:
    await answer(send)


def old_app(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "0")])
    return [b""]


def left(response: httpx.Response) -> str:
    return response.headers["ratelimit"].split(";")[1]


async def test_each_value_of_the_header_has_its_own_count() -> None:
    limited = RateLimitMiddleware(app, RateLimiter("api", per_minute(9)), key=by_header("X-API-Key"))
    async with asgi_client(limited) as http:
        answers = [await http.get("/", headers={"x-api-key": key}) for key in ("a", "b", "a", "A")]
        without = [await http.get("/") for _ in range(2)]
        twice = [await http.get("/", headers=[("x-api-key", "a"), ("x-api-key", "b")]) for _ in range(2)]
    assert [left(each) for each in answers] == ["r=8", "r=8", "r=7", "r=8"]
    assert [left(each) for each in without] == ["r=8", "r=7"]
    assert [left(each) for each in twice] == ["r=8", "r=7"]


def test_the_same_without_a_loop() -> None:
    limited = wsgi.RateLimitMiddleware(old_app, RateLimiter("api", per_minute(9)), key=wsgi.by_header("X-API-Key"))
    with wsgi_client(limited) as http:
        answers = [http.get("/", headers={"x-api-key": key}) for key in ("a", "b", "a")]
        without = [http.get("/") for _ in range(2)]
    assert [left(each) for each in answers] == ["r=8", "r=8", "r=7"]
    assert [left(each) for each in without] == ["r=8", "r=7"]
    assert wsgi.by_header("content-type")({"CONTENT_TYPE": "text/plain"}) == "text/plain"


@pytest.mark.parametrize("name", ["", "x api key", "x-api-key:", "x-äpi", b"x-api-key", None, "a\nb"])
def test_what_no_header_can_be_called_is_refused_when_it_is_given(name: Any) -> None:
    for made in (by_header, wsgi.by_header):
        with pytest.raises(ValueError, match="a header is named like 'x-api-key', got"):
            made(name)
