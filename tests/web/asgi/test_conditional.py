"""What a request with conditions gets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import FileResponse, Response, StreamingResponse
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

        return StreamingResponse(
            parts(), headers=self.headers, media_type=request.query_params.get("type", "text/plain")
        )

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
    resource.headers = {"content-length": "1200"}
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


async def test_a_stream_passes_at_once() -> None:
    for kind in (b"application/x-ndjson", b"text/plain", b"text/html", b"text/event-stream; charset=utf-8"):
        sent: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any, kind: bytes = kind, sent: list[Any] = sent) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": iter([(b"content-type", kind)])})
            for part in (b"a", b"b"):
                await send({"type": "http.response.body", "body": part, "more_body": True})
                assert sent[-1]["body"] == part
            await send({"type": "http.response.body"})

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        await ConditionalMiddleware(app)({"type": "http", "method": "GET", "headers": []}, None, send)  # type: ignore[arg-type]
        assert [each.get("body", b"") for each in sent] == [b"", b"a", b"b", b""]
        assert list(sent[0]["headers"]) == [(b"content-type", kind)]


RANGED = {"range": "bytes=0-1"}


async def test_conditions_come_before_the_range(tmp_path: Path) -> None:
    file = tmp_path / "page.txt"
    file.write_bytes(b"fine")

    async def get(request: Any) -> Response:
        return FileResponse(file)

    async with client(ConditionalMiddleware(Starlette(routes=[Route("/it", get)]))) as http:
        whole = await http.get("/it")
        tag, at = whole.headers["etag"], whole.headers["last-modified"]
        for condition, status in (
            ({}, 206), ({"if-none-match": tag}, 304), ({"if-none-match": '"other"'}, 206), ({"if-match": tag}, 206),
            ({"if-match": '"other"'}, 412), ({"if-modified-since": at}, 304), ({"if-unmodified-since": at}, 206),
            ({"if-unmodified-since": "Fri, 01 May 2020 12:00:00 GMT"}, 412), ({"if-none-match": "*"}, 304),
        ):  # fmt: skip
            answer = await http.get("/it", headers={**RANGED, **condition})
            assert (answer.status_code, condition) == (status, condition)
            assert answer.content == (b"fi" if status == 206 else answer.content if status == 412 else b"")
            assert ("content-range" in answer.headers) == (status == 206)


async def test_a_part_gets_no_tag_of_its_own(resource: Resource) -> None:
    resource.status = 206
    async with asking(resource) as http:
        answer = await http.get("/it", headers=RANGED)
        unknown = await http.get("/it", headers={**RANGED, "if-match": '"x"'})
    assert ("etag" in answer.headers, answer.status_code, unknown.status_code) == (False, 206, 412)


async def test_a_range_that_is_out_of_bounds_is_judged_after_the_conditions(resource: Resource) -> None:
    resource.status, resource.headers = 416, {"etag": '"a"', "content-range": "bytes */4"}
    async with asking(resource) as http:
        same = await http.get("/it", headers={"range": "bytes=9-", "if-none-match": '"a"'})
        other = await http.get("/it", headers={"range": "bytes=9-", "if-none-match": '"b"'})
    assert (same.status_code, other.status_code) == (304, 416)


async def test_each_success_is_judged(resource: Resource) -> None:
    for status, tagged in ((200, True), (203, True), (201, False), (204, False)):
        resource.status, resource.headers = status, {}
        async with asking(resource) as http:
            first = await http.get("/it")
            assert ("etag" in first.headers) == tagged
            if tagged:
                assert (await http.get("/it", headers={"if-none-match": first.headers["etag"]})).status_code == 304
            resource.headers = {"etag": '"own"'}
            assert (await http.get("/it", headers={"if-none-match": '"own"'})).status_code == 304
            assert (await http.get("/it", headers={"if-match": '"b"'})).status_code == 412


async def test_what_is_current_may_be_told_at_once(resource: Resource) -> None:
    async with asking(resource, current=lambda _scope: ETag("a")) as http:
        assert (await http.put("/it", headers={"if-match": '"b"'})).status_code == 412
        assert (await http.put("/it", headers={"if-match": '"a"'})).status_code == 204
