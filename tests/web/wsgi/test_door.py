"""What WSGI promises to servers and applications, with an ASGI part in between."""

from __future__ import annotations

import asyncio
import contextlib
import io
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from sdpatterns import Idempotency, RateLimiter, listen, per_minute
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.web.asgi.protocol import whole_body
from sdpatterns.web.notices import RequestFinished
from sdpatterns.web.wsgi.door import Door, environ_of, needing_no_loop
from sdpatterns.web.wsgi.environ import environ_headers
from sdpatterns.web.wsgi.idempotency import IdempotencyMiddleware
from sdpatterns.web.wsgi.metrics import MetricsMiddleware
from sdpatterns.web.wsgi.ratelimit import RateLimitMiddleware
from sdpatterns.web.wsgi.tracing import TracingMiddleware
from tests.web.wsgi.serving import client

WHERE: ContextVar[str] = ContextVar("where", default="outside")


def plain(inside: Any) -> Any:
    """A part that changes nothing."""

    async def part(scope: Any, receive: Any, send: Any) -> None:
        await inside(scope, receive, send)

    return part


def environ_for(method: str = "GET", path: str = "/", body: bytes = b"", **more: Any) -> dict[str, Any]:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SCRIPT_NAME": "",
        "wsgi.input": io.BytesIO(body),
    }
    if body:
        environ["CONTENT_LENGTH"] = str(len(body))
    setup_testing_defaults(environ)
    return environ | more


class Server:
    """The least that a server does, and a note of all that it saw."""

    def __init__(self) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []
        self.written: list[bytes] = []
        self.started = 0

    def start_response(self, status: str, headers: Any, exc_info: Any = None) -> Any:
        self.status, self.headers = status, headers
        self.started += 1
        return self.written.append

    def ask(self, app: Any, environ: dict[str, Any] | None = None) -> bytes:
        parts = validator(app)(environ_for() if environ is None else environ, self.start_response)
        try:
            for part in parts:
                self.written.append(part)
        finally:
            parts.close()
        return b"".join(self.written)


class Parts:
    """An iterable of an application, which notes when it is pulled and closed."""

    def __init__(self, *parts: bytes) -> None:
        self.left = list(parts)
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self.left:
            raise StopIteration
        return self.left.pop(0)

    def close(self) -> None:
        self.closed += 1


def app_of(parts: Any, headers: Any = (("X-Own", "1"),), status: str = "200 OK") -> Any:
    """An application; what it returns has a length only if `parts` has, so a list stands unvalidated."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response(status, [("Content-Type", "text/plain"), *headers])
        return parts

    return app if isinstance(parts, list) else validator(app)


def test_an_answer_comes_through_with_its_status_headers_and_length() -> None:
    server = Server()
    assert server.ask(Door(app_of([b"fine"], status="299 Quite fine"), plain)) == b"fine"
    assert server.status == "299 Quite fine"
    assert dict(server.headers) == {"content-type": "text/plain", "x-own": "1", "Content-Length": "4"}


@pytest.mark.parametrize(
    ("parts", "method", "headers"),
    [
        ([b"a", b"b"], "GET", []),
        ([b""], "HEAD", []),
        ([b"ab"], "GET", [("Content-Length", "2")]),
    ],
    ids=str,
)
def test_a_length_is_added_where_it_is_known_and_may_be(parts: Any, method: str, headers: Any) -> None:
    server = Server()
    server.ask(Door(app_of(parts, headers), plain), environ_for(method))
    lengths = [value for name, value in server.headers if name.lower() == "content-length"]
    assert lengths == [value for _, value in headers]


def test_a_part_is_given_on_before_the_next_is_asked_for_and_all_is_closed_at_the_end() -> None:
    parts = Parts(b"a", b"", b"b")
    server = Server()
    got = iter(validator(Door(app_of(parts), plain))(environ_for(), server.start_response))
    assert (server.started, parts.left) == (1, [b"", b"b"])
    assert (next(got), parts.left) == (b"a", [b"", b"b"])
    assert (next(got), parts.left) == (b"", [b"b"])
    assert next(got) == b"b"
    assert parts.closed == 0
    with pytest.raises(StopIteration):
        next(got)
    assert parts.closed == 1
    got.close()
    assert parts.closed == 1


@pytest.mark.parametrize("pulled", [0, 1, 2])
def test_a_server_that_stops_early_closes_the_application(pulled: int) -> None:
    parts = Parts(b"a", b"b", b"c")
    got = Door(app_of(parts), plain)(environ_for(), Server().start_response)
    for _ in range(pulled):
        next(iter(got))
    got.close()  # type: ignore[attr-defined]
    assert parts.closed == 1
    assert list(got) == []


def test_a_server_that_has_what_it_was_promised_closes_and_the_rest_still_runs() -> None:
    after = []

    def part(inside: Any) -> Any:
        async def run(scope: Any, receive: Any, send: Any) -> None:
            await inside(scope, receive, send)
            after.append("ran")

        return run

    got = Door(app_of([b"ab"]), part)(environ_for(), Server().start_response)
    assert next(iter(got)) == b"ab"
    assert after == [], "not before the server has sent it"
    got.close()  # type: ignore[attr-defined]
    assert after == ["ran"]


def test_a_generator_that_starts_late_is_waited_for() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("201 Created", [("Content-Type", "text/plain")])
        yield b"late"

    server = Server()
    assert server.ask(Door(app, plain)) == b"late"
    assert server.status == "201 Created"


def test_what_is_written_goes_out_at_once_and_before_what_is_returned() -> None:
    server = Server()
    seen = []

    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"a")
        seen.append(list(server.written))
        write(b"b")
        return [b"c"]

    assert server.ask(Door(validator(app), plain)) == b"abc"
    assert (seen, server.started) == ([[b"a"]], 1)


def test_an_error_page_replaces_what_was_not_sent_yet() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        try:
            Path("nowhere/at/all").read_text()
        except OSError:
            start_response("500 Broken", [("Content-Type", "text/plain")], sys.exc_info())
        return [b"sorry"]

    server = Server()
    assert server.ask(Door(validator(app), plain)) == b"sorry"
    assert (server.status, server.started) == ("500 Broken", 1)


def test_an_error_page_that_comes_too_late_is_the_error_itself() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"half")
        try:
            Path("nowhere/at/all").read_text()
        except OSError:
            start_response("500 Broken", [("Content-Type", "text/plain")], sys.exc_info())
        return [b"never"]

    with pytest.raises(OSError, match="nowhere"):
        Server().ask(Door(app, plain))


@pytest.mark.parametrize("kind", ["twice", "never", "late"])
def test_an_application_that_breaks_the_rules_is_told(kind: str) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        if kind == "twice":
            for _ in range(2):
                start_response("200 OK", [("Content-Type", "text/plain")])
        return [] if kind == "never" else [b"x"]

    with pytest.raises(AssertionError, match="start_response"):
        Door(app, plain)(environ_for(), Server().start_response)


def test_an_exception_before_the_answer_and_within_it_is_the_servers_to_see() -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise OSError("broken")

    got = Door(app_of(broken()), plain)(environ_for(), Server().start_response)
    assert next(iter(got)) == b"half"
    with pytest.raises(OSError, match="broken"):
        next(iter(got))
    assert list(got) == []


def test_what_comes_after_the_declared_length_is_not_sent() -> None:
    server = Server()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
        return [b"a", b"b", b"more"]

    assert server.ask(Door(app, plain)) == b"ab"


@pytest.mark.parametrize("length", ["4", "", "x", "9" * 30])
def test_a_body_is_read_by_the_part_or_by_the_application(length: str) -> None:
    seen: list[Any] = []

    def reading(inside: Any) -> Any:
        async def part(scope: Any, receive: Any, send: Any) -> None:
            seen.append(await whole_body(scope, receive, 10))
            pending = [{"type": "http.request", "body": b"other", "more_body": False}]

            async def again() -> Any:
                return pending.pop()

            await inside(scope, again, send)

        return part

    def app(environ: Any, start_response: Any) -> Any:
        seen.append(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "0")])
        return []

    environ = environ_for("POST", body=b"body") | {"CONTENT_LENGTH": length}
    if len(length) < 20:
        list(Door(app, reading)(environ, Server().start_response))
        assert seen == [b"body" if length == "4" else b"", b"other"]
    seen.clear()
    Server().ask(Door(app, plain), environ_for("POST", body=b"body"))
    assert seen == [b"body"]


def test_a_body_that_breaks_off_while_a_part_passes_it_on_is_nothing_for_the_application() -> None:
    called = []

    def passing(inside: Any) -> Any:
        async def part(scope: Any, receive: Any, send: Any) -> None:
            async def through() -> Any:
                return await receive()

            await inside(scope, through, send)

        return part

    def app(environ: Any, start_response: Any) -> Any:
        called.append(environ["wsgi.input"].read())
        return app_of([b"fine"])(environ, start_response)

    server = Server()
    assert server.ask(Door(app, passing), environ_for("POST", body=b"whole")) == b"fine"
    broken = environ_for("POST", body=b"hal") | {"CONTENT_LENGTH": "5"}
    assert Server().ask(Door(app, passing), broken) == b""
    assert called == [b"whole"]


def test_a_body_of_unknown_length_is_read_where_the_server_marks_its_end() -> None:
    seen: list[Any] = []

    def reading(inside: Any) -> Any:
        async def part(scope: Any, receive: Any, send: Any) -> None:
            seen.append(await whole_body(scope, receive, 200_000))
            await inside(scope, receive, send)

        return part

    environ = environ_for("POST") | {"wsgi.input": io.BytesIO(b"x" * 150_000), "wsgi.input_terminated": True}
    Door(app_of([b""]), reading)(environ, Server().start_response)
    assert seen == [b"x" * 150_000]


def test_a_client_that_leaves_before_its_body_is_whole_is_answered_by_nothing() -> None:
    def reading(inside: Any) -> Any:
        async def part(scope: Any, receive: Any, send: Any) -> None:
            assert await whole_body(scope, receive, 100) is None

        return part

    environ = environ_for("POST", body=b"half") | {"CONTENT_LENGTH": "8"}
    server = Server()
    assert b"".join(Door(app_of([b"never"]), reading)(environ, server.start_response)) == b""
    assert server.status == "400 Bad Request"


def test_the_scope_tells_of_the_request() -> None:
    seen: list[Any] = []

    def noting(inside: Any) -> Any:
        async def part(scope: Any, receive: Any, send: Any) -> None:
            seen.append(scope)
            assert environ_of(scope)["PATH_INFO"] == "/caf\xc3\xa9 a"
            await inside(scope, receive, send)

        return part

    environ = environ_for("PUT", "/caf\xc3\xa9 a", b"12") | {
        "SCRIPT_NAME": "/api", "QUERY_STRING": "a=%20", "REMOTE_ADDR": "203.0.113.7", "HTTP_X_OWN_THING": "1, 2",
        "CONTENT_TYPE": "text/plain", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "https",
    }  # fmt: skip
    Door(app_of([b""]), noting)(environ, Server().start_response)
    scope = {name: value for name, value in seen[0].items() if not name.startswith("sdpatterns")}
    headers = dict(scope.pop("headers"))
    assert (headers[b"x-own-thing"], headers[b"content-type"], headers[b"content-length"]) == (
        b"1, 2", b"text/plain", b"2",
    )  # fmt: skip
    assert scope == {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "PUT",
        "scheme": "https", "path": "/api/café a", "raw_path": b"/api/caf%C3%A9%20a", "query_string": b"a=%20",
        "root_path": "/api", "client": ("203.0.113.7", 0), "server": ("127.0.0.1", 80), "extensions": {},
    }  # fmt: skip


def test_headers_that_a_part_changes_are_changed_for_the_application() -> None:
    def changing(inside: Any) -> Any:
        async def part(scope: Any, receive: Any, send: Any) -> None:
            await inside({**scope, "headers": [(b"x-new", b"2"), (b"content-type", b"a/b")]}, receive, send)

        return part

    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        seen.append(sorted(environ_headers(environ)))
        start_response("204 No Content", [])
        return []

    Door(app, changing)(environ_for() | {"HTTP_X_OLD": "1"}, Server().start_response)
    assert seen == [[(b"content-type", b"a/b"), (b"x-new", b"2")]]


def test_doors_around_each_other_are_one_and_in_order() -> None:
    def marking(mark: bytes) -> Any:
        def part(inside: Any) -> Any:
            async def run(scope: Any, receive: Any, send: Any) -> None:
                async def marked(message: Any) -> None:
                    if message["type"] == "http.response.body":
                        message = {**message, "body": mark + message["body"]}
                    await send(message)

                await inside(scope, receive, marked)

            return run

        return part

    server = Server()
    assert server.ask(Door(Door(app_of([b"x"]), marking(b"b")), marking(b"a"))) == b"abx"
    assert dict(server.headers)["Content-Length"] == "3"


def test_the_context_of_a_request_is_its_own_whichever_thread_pulls() -> None:
    def setting(inside: Any) -> Any:
        async def part(scope: Any, receive: Any, send: Any) -> None:
            token = WHERE.set("inside")
            try:
                await inside(scope, receive, send)
            finally:
                WHERE.reset(token)

        return part

    def parts() -> Iterator[bytes]:
        for _ in range(2):
            yield WHERE.get().encode()

    got = Door(app_of(parts()), setting)(environ_for(), Server().start_response)
    assert next(iter(got)) == b"inside"
    assert WHERE.get() == "outside"
    rest: list[bytes] = []
    thread = threading.Thread(target=lambda: rest.extend(got))
    thread.start()
    thread.join(60)
    assert rest == [b"inside"]


def test_an_answer_that_a_server_drops_is_closed_in_its_own_context() -> None:
    after = []

    def setting(inside: Any) -> Any:
        async def part(scope: Any, receive: Any, send: Any) -> None:
            token = WHERE.set("inside")
            try:
                await inside(scope, receive, send)
            finally:
                WHERE.reset(token)
                after.append("reset")

        return part

    parts = Parts(b"a", b"b")
    got = Door(app_of(parts), setting)(environ_for(), Server().start_response)
    next(iter(got))
    del got
    assert (parts.closed, after) == (1, ["reset"])


def test_a_part_that_has_to_wait_says_so() -> None:
    def waiting(inside: Any) -> Any:
        async def part(scope: Any, receive: Any, send: Any) -> None:
            await asyncio.sleep(0)

        return part

    with pytest.raises(RuntimeError, match="event loop"):
        Door(app_of([b"x"]), waiting)(environ_for(), Server().start_response)


async def _inside_a_loop() -> None:
    Door(app_of([b"x"]), plain)(environ_for(), Server().start_response)


def test_in_a_thread_with_a_loop_it_says_so() -> None:
    with pytest.raises(RuntimeError, match="event loop"):
        asyncio.run(_inside_a_loop())


def test_a_store_that_needs_a_loop_is_refused_at_construction() -> None:
    backend = SQLBackend.from_url("sqlite+aiosqlite:///never.db")
    with pytest.raises(TypeError, match="'http' needs asyncio"):
        IdempotencyMiddleware(app_of([b""]), Idempotency("http", store=backend.states))
    with pytest.raises(TypeError, match="blocking=True"):
        RateLimitMiddleware(app_of([b""]), RateLimiter("api", per_minute(1), store=backend.states))
    limiter = RateLimiter("api", per_minute(1))
    assert needing_no_loop(limiter) is limiter


def test_a_client_without_a_server(tmp_path: Any) -> None:
    with client(Door(app_of([b"fine"]), plain)) as http, contextlib.closing(http.get("/")) as answer:
        assert answer.text == "fine"


def test_an_application_that_ends_by_stop_iteration_ends_so_for_the_server() -> None:
    seen: list[Any] = []

    def taken_over(environ: Any, start_response: Any) -> Any:
        raise StopIteration("the socket has its own protocol")

    policy = Idempotency("http", store=MemoryBackend().states)
    doors = [
        Door(taken_over, plain),
        Door(Door(taken_over, plain), plain),
        MetricsMiddleware(TracingMiddleware(taken_over), name="shop"),
        IdempotencyMiddleware(taken_over, policy),
    ]
    with listen(seen.append):
        for app in doors * 2:
            environ = environ_for("POST", HTTP_IDEMPOTENCY_KEY='"8e"')
            with pytest.raises(StopIteration, match="its own protocol"):
                app(environ, Server().start_response)
    assert [notice.status for notice in seen if isinstance(notice, RequestFinished)] == [499, 499]


def test_an_application_that_closes_by_stop_iteration_ends_so_too() -> None:
    class Closing(Parts):
        def close(self) -> None:
            raise StopIteration

    server = Server()
    app = Door(app_of(Closing(b"fine")), plain)
    with contextlib.suppress(StopIteration):
        for part in app(environ_for(), server.start_response):
            server.written.append(part)
    assert (server.status, b"".join(server.written)) == ("200 OK", b"fine")


def test_exempt_requests_and_functions_of_the_environ() -> None:
    def fine(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"fine"]

    async def later(_environ: Any) -> bool:
        return True

    limiter = RateLimiter("api", per_minute(1))
    settings: dict[str, Any] = {
        "exempt": lambda environ: environ["PATH_INFO"] == "/livez",
        "key": lambda environ: None if environ["PATH_INFO"] == "/static" else "all",
    }
    app = RateLimitMiddleware(fine, limiter, **settings)
    statuses = []
    for path in ("/", "/livez", "/static", "/"):
        server = Server()
        server.ask(app, environ_for(path=path))
        statuses.append(server.status.partition(" ")[0])
    assert statuses == ["200", "200", "200", "429"]
    for field in ("exempt", "key", "cost", "partition"):
        with pytest.raises(TypeError, match=f"{field} must be a plain function"):
            RateLimitMiddleware(fine, limiter, **{field: later})
