"""What is compressed, what is left alone, and what the client is told of it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from sdpatterns.web.asgi.compression import CompressionMiddleware, shrinks
from sdpatterns.web.asgi.conditional import ConditionalMiddleware
from sdpatterns.web.asgi.protocol import Headers
from tests.web.asgi.asking import answer, client
from tests.web.conftest import Serve
from tests.web.test_encodings import DECODERS

pytestmark = pytest.mark.anyio

TEXT = b"the same words again and again. " * 40
JSON = (b"content-type", b"application/json; charset=utf-8")


class App:
    """Answers with what it was given."""

    def __init__(self, *parts: bytes, status: int = 200, headers: Headers | None = None) -> None:
        self.parts = parts or (TEXT,)
        self.status = status
        self.headers = [JSON] if headers is None else headers
        self.scopes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if len(self.parts) == 1:
            await answer(send, self.status, self.parts[0], self.headers)
            return
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        for part in self.parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def ask(app: Any, accepts: str | None = "gzip", method: str = "GET", **settings: Any) -> httpx.Response:
    headers = {"accept-encoding": accepts} if accepts is not None else {"accept-encoding": ""}
    async with client(CompressionMiddleware(app, **settings)) as http:
        async with http.stream(method, "/", headers=headers) as response:
            response.extensions["raw"] = b"".join([part async for part in response.aiter_raw()])
        return response


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_a_body_comes_in_the_coding_asked_for(coding: str) -> None:
    response = await ask(App(), coding)
    raw = response.extensions["raw"]
    assert response.headers["content-encoding"] == coding
    assert response.headers["vary"] == "Accept-Encoding"
    assert response.headers.get_list("content-length") == [str(len(raw))]
    assert len(raw) < 200
    assert DECODERS[coding](raw) == TEXT


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_each_part_of_a_stream_can_be_read_when_it_is_sent(coding: str) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "headers": [(b"accept-encoding", coding.encode())]}
    await CompressionMiddleware(App(b"one", b"", b"two"))(scope, None, send)  # type: ignore[arg-type]
    start, *parts = sent
    assert b"content-length" not in dict(start["headers"])
    decoded, coded = [], b""
    for part in parts:
        coded += part["body"]
        decoded.append(DECODERS[coding](coded))
    assert decoded == [b"one", b"one", b"onetwo", b"onetwo"]
    assert [part.get("more_body", False) for part in parts] == [True, True, True, False]


@pytest.mark.parametrize(
    ("app", "accepts"),
    [(App(), None), (App(), "gzip;q=0"), (App(TEXT[:499]), "gzip"), (App(), "identity, gzip;q=0.1")],
    ids=["nothing accepted", "refused", "small", "identity preferred"],
)
async def test_what_goes_as_it_is_still_varies(app: App, accepts: str | None) -> None:
    response = await ask(app, accepts)
    assert "content-encoding" not in response.headers
    assert (response.extensions["raw"], response.headers["vary"]) == (app.parts[0], "Accept-Encoding")
    assert response.headers["content-length"] == str(len(app.parts[0]))


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-type", b"image/png")],
        [(b"content-type", b"text/event-stream")],
        [],
        [JSON, (b"content-encoding", b"br")],
        [JSON, (b"Content-Range", b"bytes 0-5/10")],
        [JSON, (b"content-digest", b"sha-256=:AA==:")],
        [JSON, (b"cache-control", b"private, No-Transform")],
    ],
    ids=str,
)
async def test_what_must_not_be_touched_is_left_alone(headers: Headers) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "headers": [(b"accept-encoding", b"gzip")]}
    await CompressionMiddleware(App(headers=headers))(scope, None, send)  # type: ignore[arg-type]
    assert sent[0]["headers"] == [(b"content-length", b"1280"), *headers]
    assert sent[1]["body"] == TEXT


@pytest.mark.parametrize(("length", "coded"), [(499, False), (500, True), (None, True)])
async def test_the_size_rule_holds_for_streams_that_tell_their_length(length: int | None, coded: bool) -> None:
    body = TEXT[: length or 700]
    told = [] if length is None else [(b"content-length", b"%d" % length)]
    response = await ask(App(body[:200], body[200:], headers=[JSON, *told]))
    assert ("content-encoding" in response.headers) == coded
    raw = response.extensions["raw"]
    assert (DECODERS["gzip"](raw) if coded else raw) == body


async def test_an_empty_body_stays_empty() -> None:
    assert (await ask(App(b""))).extensions["raw"] == b""


async def test_head_is_told_the_same_as_get_or_less() -> None:
    async def whole(request: Any) -> Response:
        return Response(b"fine" * int(request.path_params["times"]), headers={"etag": '"a"'}, media_type="text/plain")

    async def stream(request: Any) -> Response:
        return StreamingResponse(iter([b"fine"] * 300), headers={"etag": '"a"'}, media_type="text/plain")

    routes = [Route("/whole/{times}", whole), Route("/stream", stream)]
    async with client(CompressionMiddleware(Starlette(routes=routes))) as http:
        for path in ("/whole/300", "/whole/3", "/whole/0", "/stream"):
            for wish in ("gzip", "br", "identity", "zstd;q=0.1, gzip"):
                get = await http.get(path, headers={"accept-encoding": wish})
                head = await http.head(path, headers={"accept-encoding": wish})
                told = {(name, value) for name, value in head.headers.items()}
                assert told <= set(get.headers.items()), (path, wish, told - set(get.headers.items()))
                assert "vary" in head.headers
        seen = (await http.head("/whole/300", headers={"accept-encoding": "gzip"})).headers
        assert (seen["etag"], seen["content-encoding"]) == ('"a--gzip"', "gzip")


async def test_an_answer_whose_bytes_only_the_server_sees_passes_whole() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.pathsend", "path": "/srv/x"})

    for wrap in (CompressionMiddleware, ConditionalMiddleware):
        sent: list[str] = []

        async def send(message: Any, sent: list[str] = sent) -> None:
            sent.append(message["type"])

        scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"accept-encoding", b"gzip")]}
        await wrap(app)(scope, None, send)  # type: ignore[arg-type]
        assert sent == ["http.response.start", "http.response.pathsend"]


async def test_types_that_is_async_is_refused_and_one_that_raises_compresses_nothing() -> None:
    async def later(_media_type: str) -> bool:
        return True

    def broken(_media_type: str) -> bool:
        raise KeyError("type")

    with pytest.raises(TypeError, match="types must be a plain function"):
        CompressionMiddleware(App(), types=later)  # type: ignore[arg-type]
    async with client(CompressionMiddleware(App(), types=broken)) as http:
        answer = await http.get("/", headers={"accept-encoding": "gzip"})
    assert (answer.status_code, "content-encoding" in answer.headers) == (200, False)


@pytest.mark.parametrize("status", [204, 206])
async def test_statuses_without_a_whole_body_are_left_alone(status: int) -> None:
    response = await ask(App(status=status))
    assert "content-encoding" not in response.headers


@pytest.mark.parametrize(
    ("said", "told"),
    [("*", ["*"]), ("accept-encoding", ["accept-encoding"]), ("Cookie", ["Cookie", "Accept-Encoding"])],
)
async def test_vary_is_said_once(said: str, told: list[str]) -> None:
    response = await ask(App(headers=[JSON, (b"vary", said.encode())]))
    assert response.headers.get_list("vary") == told


@pytest.mark.parametrize(
    ("tag", "expected"), [('"a"', '"a--gzip"'), ('W/"a"', 'W/"a"'), ("a", "a")], ids=["strong", "weak", "none"]
)
async def test_a_strong_tag_tells_the_coding(tag: str, expected: str) -> None:
    headers = [JSON, (b"etag", tag.encode()), (b"accept-ranges", b"bytes")]
    response = await ask(App(headers=headers))
    assert response.headers["etag"] == expected
    assert "accept-ranges" not in response.headers
    assert (await ask(App(headers=headers), None)).headers["etag"] == tag


async def test_tags_come_back_to_the_application_as_it_knows_them() -> None:
    app = App()
    sent = '"a--gzip", W/"b--br", "c--none", "d"'
    headers = [("if-match", sent), ("if-none-match", "*"), ("if-none-match", "broken")]
    async with client(CompressionMiddleware(app)) as http:
        await http.get("/", headers=headers)
    found = [value for name, value in app.scopes[0]["headers"] if name in {b"if-match", b"if-none-match"}]
    assert found == [b'"a", W/"b", "c--none", "d"', b"*", b"broken"]


async def test_conditional_requests_work_through_it() -> None:
    app = CompressionMiddleware(ConditionalMiddleware(App()))
    async with client(app) as http:
        first = await http.get("/")
        again = await http.get("/", headers={"If-None-Match": f'"x", {first.headers["etag"]}'})
        plain = await http.get("/", headers={"Accept-Encoding": "identity"})
        known = await http.get("/", headers={"If-None-Match": plain.headers["etag"]})
    assert first.content == plain.content == TEXT
    assert first.headers["etag"] == plain.headers["etag"][:-1] + "--" + first.headers["content-encoding"] + '"'
    assert (again.status_code, again.headers["etag"]) == (304, first.headers["etag"])
    assert (known.status_code, known.headers["etag"]) == (304, plain.headers["etag"])
    assert (again.headers["vary"], again.content) == ("Accept-Encoding", b"")


async def test_files_are_not_offered_to_be_sent_unseen() -> None:
    app = App()
    offered = {"http.response.pathsend": {}, "tls": {}}
    scope = {"type": "http", "method": "GET", "headers": [], "extensions": offered}

    async def send(message: Any) -> None:
        assert message["type"] in {"http.response.start", "http.response.body", "http.response.trailers"}

    await CompressionMiddleware(app)(scope, None, send)  # type: ignore[arg-type]
    assert app.scopes[0]["extensions"] == {"tls": {}}


async def test_other_connections_and_messages_pass() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.debug"})

    async def send(message: Any) -> None:
        seen.append(message["type"])

    for scope in ({"type": "websocket"}, {"type": "http", "method": "GET", "headers": []}):
        await CompressionMiddleware(app)(scope, None, send)  # type: ignore[arg-type]
    assert seen == ["http.response.debug"] * 2


async def test_behind_a_real_server(serve: Serve) -> None:
    app = CompressionMiddleware(App(TEXT, TEXT))
    async with serve(app) as url, httpx.AsyncClient() as http:
        answers = [await http.get(url, headers={"Accept-Encoding": coding}) for coding in ("gzip", "identity")]
    assert [each.content for each in answers] == [TEXT * 2] * 2
    assert answers[0].headers["content-encoding"] == "gzip"


@pytest.mark.parametrize("settings", [{"bytes_min": -1}, {"codings": ["deflate"]}], ids=str)
async def test_bad_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        CompressionMiddleware(App(), **settings)


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        ("text/html", True), ("application/problem+json", True), ("image/svg+xml", True), ("application/json", True),
        ("text/event-stream", False), ("image/jpeg", False), ("application/zip", False), ("", False),
    ],
)  # fmt: skip
async def test_types_that_shrink(media_type: str, expected: bool) -> None:
    assert shrinks(media_type) == expected
