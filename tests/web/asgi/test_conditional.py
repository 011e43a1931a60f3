"""What a request with conditions gets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from sdpatterns.web.asgi.conditional import ConditionalMiddleware
from sdpatterns.web.etags import ETag, etag_of
from tests.web.asgi.asking import client
from tests.web.conftest import Serve

pytestmark = pytest.mark.anyio

AT = "Fri, 01 May 2026 12:00:00 GMT"


class Resource:
    """One resource, and the bodies that it was given."""

    def __init__(self) -> None:
        self.body = b"fine"
        self.changes = 0
        self.headers: dict[str, str] = {}
        self.status = 200

    async def get(self, request: Any) -> Response:
        return Response(self.body, self.status, {"cache-control": "max-age=1", **self.headers}, "text/plain")

    async def stream(self, request: Any) -> Response:
        def parts() -> Iterator[bytes]:
            yield from (b"x" * 600, b"y" * 600)

        return StreamingResponse(parts(), media_type=request.query_params.get("type", "text/plain"))

    async def put(self, request: Any) -> Response:
        self.changes += 1
        self.body = await request.body()
        return Response(status_code=204)

    async def current(self, scope: Any) -> ETag | None:
        return etag_of(self.body) if scope["path"] == "/it" else None


@pytest.fixture
def resource() -> Resource:
    return Resource()


def asking(resource: Resource, **settings: Any) -> httpx.AsyncClient:
    changes = [Route(path, resource.put, methods=["PUT", "DELETE"]) for path in ("/it", "/new")]
    routes = [Route("/it", resource.get), Route("/stream", resource.stream), *changes]
    return client(ConditionalMiddleware(Starlette(routes=routes), **{"current": resource.current, **settings}))


async def test_who_has_the_answer_gets_304_and_no_body(resource: Resource) -> None:
    async with asking(resource) as http:
        first = await http.get("/it")
        again = await http.get("/it", headers={"If-None-Match": first.headers["etag"]})
        resource.body = b"other"
        changed = await http.get("/it", headers={"If-None-Match": first.headers["etag"]})
    assert first.headers["etag"] == str(etag_of(b"fine"))
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert again.headers["cache-control"] == "max-age=1"
    assert not {"content-type", "content-length"} & set(again.headers)
    assert (changed.status_code, changed.content) == (200, b"other")


async def test_the_applications_own_tag_is_kept(resource: Resource) -> None:
    resource.headers = {"etag": 'W/"v7"'}
    async with asking(resource) as http:
        assert (await http.get("/it")).headers["etag"] == 'W/"v7"'
        assert (await http.get("/it", headers={"If-None-Match": '"v7"'})).status_code == 304
        assert (await http.head("/it", headers={"If-None-Match": '"v7"'})).status_code == 304
        assert (await http.get("/it", headers={"If-Match": '"v7"'})).status_code == 412


async def test_a_tag_that_is_none_matches_nothing(resource: Resource) -> None:
    resource.headers = {"etag": "v7"}
    async with asking(resource) as http:
        answer = await http.get("/it", headers={"If-None-Match": '"v7"'})
    assert (answer.status_code, answer.headers["etag"]) == (200, "v7")


@pytest.mark.parametrize(("modified", "status"), [(AT, 304), ("Fri, 01 May 2026 12:00:01 GMT", 200), ("soon", 200)])
async def test_dates_of_modification(resource: Resource, modified: str, status: int) -> None:
    resource.headers = {"last-modified": modified}
    async with asking(resource) as http:
        assert (await http.get("/it", headers={"If-Modified-Since": AT})).status_code == status
        assert (await http.head("/it", headers={"If-Modified-Since": AT})).status_code == status


async def test_a_head_without_a_tag_passes(resource: Resource) -> None:
    async with asking(resource) as http:
        answer = await http.head("/it", headers={"If-None-Match": '"x"'})
    assert (answer.status_code, answer.headers["content-length"]) == (200, "4")


async def test_other_answers_than_200_are_left_alone(resource: Resource) -> None:
    resource.status = 404
    async with asking(resource) as http:
        answer = await http.get("/it", headers={"If-None-Match": "*"})
    assert (answer.status_code, answer.content) == (404, b"fine")
    assert "etag" not in answer.headers


@pytest.mark.parametrize(("bytes_max", "tagged"), [(1200, True), (1199, False), (100, False)])
async def test_a_body_over_the_bound_passes_whole_and_has_no_tag(
    resource: Resource, bytes_max: int, tagged: bool
) -> None:
    async with asking(resource, body_bytes_max=bytes_max) as http:
        answer = await http.get("/stream")
        again = await http.get("/stream", headers={"If-None-Match": answer.headers.get("etag", '"x"')})
        refused = await http.get("/stream", headers={"If-None-Match": "*"})
    assert answer.content == b"x" * 600 + b"y" * 600
    assert (("etag" in answer.headers), again.status_code) == (tagged, 304 if tagged else 200)
    assert (refused.status_code, refused.content) == (304, b"")


@pytest.mark.parametrize(("bytes_max", "tagged"), [(4, True), (3, False)])
async def test_the_bound_holds_for_a_body_in_one_piece(resource: Resource, bytes_max: int, tagged: bool) -> None:
    async with asking(resource, body_bytes_max=bytes_max) as http:
        answer = await http.get("/it")
    assert (answer.content, "etag" in answer.headers) == (b"fine", tagged)


async def test_events_are_not_held_back(resource: Resource) -> None:
    async with asking(resource) as http:
        answer = await http.get("/stream?type=text/event-stream")
    assert ("etag" in answer.headers, len(answer.content)) == (False, 1200)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_nothing_is_overwritten_unseen(resource: Resource, method: str) -> None:
    async with asking(resource) as http:
        seen = (await http.get("/it")).headers["etag"]
        done = await http.request(method, "/it", content=b"mine", headers={"If-Match": seen})
        late = await http.request(method, "/it", content=b"yours", headers={"If-Match": seen})
    assert (done.status_code, late.status_code, resource.changes, resource.body) == (204, 412, 1, b"mine")
    assert late.headers["content-type"] == "application/problem+json"
    assert late.headers["etag"] == str(etag_of(b"mine"))


async def test_only_what_is_not_there_is_made(resource: Resource) -> None:
    async with asking(resource) as http:
        made = await http.put("/new", content=b"new", headers={"If-None-Match": "*"})
        there = await http.put("/it", content=b"new", headers={"If-None-Match": "*"})
        gone = await http.put("/new", content=b"new", headers={"If-Match": "*"})
    assert [made.status_code, there.status_code, gone.status_code] == [204, 412, 412]
    assert "etag" not in gone.headers
    assert resource.changes == 1


async def test_without_a_condition_or_a_way_to_know_nothing_is_refused(resource: Resource) -> None:
    async with asking(resource) as http:
        assert (await http.put("/it")).status_code == 204
    async with asking(resource, current=None) as http:
        assert (await http.put("/it", headers={"If-Match": '"x"'})).status_code == 204


async def test_other_connections_pass() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await ConditionalMiddleware(app)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan"]


async def test_an_application_is_not_offered_what_has_no_bytes() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["extensions"])

    extensions = {"http.response.pathsend": {}, "http.response.trailers": {}, "tls": {}}
    scope = {"type": "http", "method": "GET", "headers": [], "extensions": extensions}
    await ConditionalMiddleware(app)(scope, None, None)  # type: ignore[arg-type]
    assert seen == [{"tls": {}}]


async def test_other_messages_pass() -> None:
    sent = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.debug"})

    async def send(message: Any) -> None:
        sent.append(message)

    await ConditionalMiddleware(app)({"type": "http", "method": "GET", "headers": []}, None, send)  # type: ignore[arg-type]
    assert sent == [{"type": "http.response.debug"}]


async def test_behind_a_real_server(resource: Resource, serve: Serve) -> None:
    app = ConditionalMiddleware(Starlette(routes=[Route("/it", resource.get)]))
    async with serve(app) as url, httpx.AsyncClient() as http:
        tag = (await http.get(f"{url}/it")).headers["etag"]
        answers = [await http.get(f"{url}/it", headers={"If-None-Match": tag}) for _ in range(2)]
    assert [(answer.status_code, answer.content) for answer in answers] == [(304, b"")] * 2


async def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="body_bytes_max"):
        ConditionalMiddleware(None, body_bytes_max=-1)  # type: ignore[arg-type]
