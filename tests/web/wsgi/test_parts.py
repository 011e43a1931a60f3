"""The parts in front of WSGI applications, with validators on both sides and behind a server with eight threads."""

from __future__ import annotations

import gzip
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from wsgiref.validate import validator

import httpx
import pytest

from sdpatterns import Idempotency, RateLimiter, listen, per_hour
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.blocking import blocking
from sdpatterns.core import context
from sdpatterns.core.context import deadline_left_s
from sdpatterns.errors import BackendUnavailable
from sdpatterns.web.etags import ETag
from sdpatterns.web.wsgi.compression import CompressionMiddleware
from sdpatterns.web.wsgi.conditional import ConditionalMiddleware
from sdpatterns.web.wsgi.idempotency import IdempotencyMiddleware
from sdpatterns.web.wsgi.metrics import MetricsMiddleware
from sdpatterns.web.wsgi.ratelimit import RateLimitMiddleware
from sdpatterns.web.wsgi.tracing import TracingMiddleware
from tests.web.wsgi.serving import THREADS, client, serving

KEY = {"Idempotency-Key": '"8e03978e-40d5"'}


class App:
    """Counts its runs; what it does is decided by the path."""

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.threads: set[int] = set()
        self.lasts_s = 0.0
        self.during: Callable[[], object] = lambda: None
        self.seen: list[Any] = []

    def __call__(self, environ: Any, start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        with self.lock:
            self.runs[path] += 1
            self.threads.add(threading.get_ident())
        self.seen.append((context.trace.get(), context.correlation_id.get(), deadline_left_s()))
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        time.sleep(self.lasts_s)
        self.during()
        if path == "/fail":
            raise OSError("broken")
        status = "503 Away" if path == "/away" else "201 Created"
        headers = [("Content-Type", "text/plain"), ("X-Run", str(self.runs[path])), ("Set-Cookie", "a=b")]
        start_response(status, headers)
        if path == "/stream":
            return (body for _ in range(3))
        return [b"got " + body]


@pytest.fixture
def app() -> App:
    return App()


def shared_client() -> httpx.Client:
    """One client for all threads.

    Without a bound on idle connections: httpcore 1.0.9 closes a surplus one although it has just been given to another
    thread (its issue 1110), which gets "Bad file descriptor" or waits for an answer that never comes.
    """
    return httpx.Client(timeout=30, limits=httpx.Limits(max_connections=None, max_keepalive_connections=None))


def many(times: int, ask: Callable[[int], httpx.Response]) -> list[httpx.Response]:
    """So many clients at once."""
    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(ask, range(times)))


def test_over_eight_threads_exactly_the_limit_passes(app: App) -> None:
    app.lasts_s = 0.01
    limited = RateLimitMiddleware(app, RateLimiter("api", per_hour(40)), key=lambda environ: "all")
    with serving(limited) as url, shared_client() as http:
        answers = many(60, lambda _: http.get(url))
    assert Counter(answer.status_code for answer in answers) == {201: 40, 429: 20}
    assert sorted(int(answer.headers["ratelimit"].split("r=")[1].split(";")[0]) for answer in answers) == [
        *[0] * 21, *range(1, 40),
    ]  # fmt: skip
    assert app.runs["/"] == 40
    assert 1 < len(app.threads) <= THREADS  # a busy machine may not come to use all of them


@pytest.fixture(params=["memory", "sqlite", "redis", "postgres"])
def backend(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Any]:
    if request.param == "memory":
        yield MemoryBackend()
        return
    if request.param == "redis":
        found: Any = RedisBackend.from_url(request.getfixturevalue("valkey_url"), blocking=True)
    elif request.param == "sqlite":
        found = SQLBackend.from_url(f"sqlite:///{tmp_path}/cells.db", blocking=True)
    else:
        url = request.getfixturevalue("postgres_url").replace("postgresql://", "postgresql+psycopg://")
        found = SQLBackend.from_url(url, blocking=True)
    with blocking(found) as door:
        if request.param in {"sqlite", "postgres"}:
            door.create()
        yield found


def test_fifty_at_once_with_one_key_are_carried_out_once(app: App, backend: Any, request: Any) -> None:
    app.lasts_s = 0.05
    idem = Idempotency(f"wsgi-{time.time_ns()}", store=backend.states, on_busy="wait")
    with serving(IdempotencyMiddleware(validator(app), idem)) as url, shared_client() as http:
        answers = many(50, lambda _: http.post(url, content=b"body", headers=KEY))
        other = http.post(url, content=b"other", headers=KEY)
    assert {(answer.status_code, answer.content, answer.headers["x-run"]) for answer in answers} == {
        (201, b"got body", "1")
    }
    assert sum("set-cookie" in answer.headers for answer in answers) == 1
    assert (app.runs["/"], other.status_code) == (1, 422)


def test_in_flight_is_a_409_and_an_answer_of_the_servers_fault_frees_the_key(app: App) -> None:
    idem = IdempotencyMiddleware(validator(app), Idempotency("http", store=MemoryBackend().states), required=True)
    refused = threading.Semaphore(0)
    app.during = lambda: [refused.acquire(timeout=10) for _ in range(7)]
    with serving(idem) as url, httpx.Client(timeout=30) as http:

        def ask(_: int) -> int:
            status = http.post(url, headers=KEY).status_code
            if status == 409:
                refused.release()
            return status

        with ThreadPoolExecutor(8) as pool:
            assert Counter(pool.map(ask, range(8))) == {201: 1, 409: 7}
    app.during = lambda: None
    with client(idem) as http:
        assert http.post("/", content=b"x").status_code == 400
        assert [http.post("/away", headers={"Idempotency-Key": '"a"'}).status_code for _ in range(2)] == [503, 503]
        for _ in range(2):
            with pytest.raises(OSError, match="broken"):
                http.post("/fail", headers={"Idempotency-Key": '"b"'})
    assert (app.runs["/away"], app.runs["/fail"]) == (2, 2)


def test_a_tenant_and_a_stream_are_kept_apart_and_kept(app: App) -> None:
    def tenant(environ: Any) -> str:
        return str(environ.get("HTTP_X_TENANT", ""))

    idem = Idempotency("http", store=MemoryBackend().states)
    kept = IdempotencyMiddleware(validator(app), idem, tenant=tenant, answer_bytes_max=1000)
    with client(kept) as http:
        runs = [http.post("/", headers=KEY | {"X-Tenant": name}).headers["x-run"] for name in ("a", "b", "a")]
        assert runs == ["1", "2", "1"]
        key = {"Idempotency-Key": '"c"'}
        assert [http.post("/stream", content=b"12", headers=key).content for _ in range(2)] == [b"121212"] * 2
        long = {"Idempotency-Key": '"d"'}
        first, again = [http.post("/stream", content=b"x" * 400, headers=long) for _ in range(2)]
    assert (len(first.content), again.status_code, "retry-after" in again.headers) == (1200, 409, False)
    assert app.runs["/stream"] == 2


def test_a_server_that_stops_in_the_middle_of_an_answer_that_is_not_kept_leaves_it_carried_out(app: App) -> None:
    idem = Idempotency("http", store=MemoryBackend().states)
    kept = IdempotencyMiddleware(app, idem, answer_bytes_max=100)
    with client(kept) as http:
        with http.stream("POST", "/stream", content=b"x" * 90, headers=KEY) as cut:
            assert cut.status_code == 201
        assert http.post("/stream", content=b"x" * 90, headers=KEY).status_code == 409
    assert app.runs["/stream"] == 1


def test_the_settings_of_a_limit_get_the_environ(app: App) -> None:
    limited = RateLimitMiddleware(
        validator(app),
        RateLimiter("api", per_hour(10)),
        key=lambda environ: environ["HTTP_X_USER"],
        cost=lambda environ: int(environ["HTTP_X_COST"]),
        partition=lambda environ: environ["HTTP_X_USER"].encode(),
    )
    with client(limited) as http:
        statuses = [http.get("/", headers={"X-User": u, "X-Cost": c}) for u, c in (("a", "9"), ("b", "9"), ("a", "2"))]
    assert [answer.status_code for answer in statuses] == [201, 201, 429]
    assert statuses[0].headers["ratelimit"] == '"api";r=1;t=3240;pk=:YQ==:'


def test_a_limiter_whose_store_is_away_is_a_503(app: App) -> None:
    class Away:
        name = "api"

        async def acquire(self, key: Any, /, cost: int = 1) -> Any:
            raise BackendUnavailable("away")

    with client(RateLimitMiddleware(validator(app), Away())) as http:
        answer = http.get("/")
    assert (answer.status_code, answer.headers["content-type"], app.runs) == (503, "application/problem+json", {})


def test_trace_correlation_and_deadline_are_the_requests(app: App) -> None:
    traced = TracingMiddleware(validator(app), trusts=lambda environ: environ["REMOTE_ADDR"] == "203.0.113.7")
    headers = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "X-Correlation-Id": "c-1", "X-Deadline-Ms": "500"}
    with client(traced) as http:
        answer = http.get("/", headers=headers)
        late = http.get("/", headers=headers | {"X-Deadline-Ms": "0"})
    trace, correlation, left_s = app.seen[0]
    assert (trace.trace_id, correlation, answer.headers["x-correlation-id"]) == ("a" * 32, "c-1", "c-1")
    assert 0 < left_s <= 0.5
    assert (late.status_code, app.runs["/"]) == (504, 1)
    assert context.trace.get() is None


def test_each_request_is_told_of_once_with_its_route(app: App) -> None:
    heard: list[Any] = []

    def routed(environ: Any, start_response: Any) -> Any:
        environ["sdpatterns.route"] = "/orders/{id}"
        return app(environ, start_response)

    class Rule:
        class url_rule:  # noqa: N801 - Flask's name
            rule = "/flask/<id>"

    def flask(environ: Any, start_response: Any) -> Any:
        environ["werkzeug.request"] = Rule
        return app(environ, start_response)

    with listen(heard.append):
        for inside in (routed, flask, app):
            with client(MetricsMiddleware(inside, name="shop")) as http:
                http.get("/")
                with pytest.raises(OSError, match="broken"):
                    http.get("/fail")
    assert [(each.route, each.status) for each in heard] == [
        ("/orders/{id}", 201), ("/orders/{id}", 500), ("/flask/<id>", 201), ("/flask/<id>", 500), ("", 201), ("", 500),
    ]  # fmt: skip


def test_what_the_client_has_is_not_sent_and_what_changed_not_overwritten() -> None:
    text = {"now": b"first"}

    def wiki(environ: Any, start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] == "PUT":
            text["now"] = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text["now"])))])
        return [text["now"]]

    def current(environ: Any) -> ETag:
        return ETag(text["now"].decode())

    pages = CompressionMiddleware(ConditionalMiddleware(validator(wiki), current=current), bytes_min=1)
    with client(pages) as http:
        seen = http.get("/", headers={"Accept-Encoding": "gzip"})
        assert (seen.headers["content-encoding"], seen.text) == ("gzip", "first")
        assert seen.headers["etag"].endswith('--gzip"')
        same = http.get("/", headers={"Accept-Encoding": "gzip", "If-None-Match": seen.headers["etag"]})
        assert (same.status_code, same.content) == (304, b"")
        assert http.put("/", content=b"second", headers={"If-Match": '"first"'}).status_code == 200
        assert http.put("/", content=b"third", headers={"If-Match": '"first"'}).status_code == 412
    assert text["now"] == b"second"
    with client(ConditionalMiddleware(validator(wiki))) as http:
        assert http.put("/", content=b"fourth", headers={"If-Match": '"first"'}).status_code == 200


def test_a_stream_is_compressed_part_by_part_as_it_comes() -> None:
    pulled: list[int] = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])

        def parts() -> Iterator[bytes]:
            for number in range(3):
                pulled.append(number)
                yield b"%d" % number * 1000

        return parts()

    with (
        client(CompressionMiddleware(app)) as http,
        http.stream("GET", "/", headers={"Accept-Encoding": "gzip"}) as got,
    ):
        raw = got.iter_raw()
        first = next(raw)
        assert pulled == [0]
        assert gzip.decompress(first + b"".join(raw)) == b"0" * 1000 + b"1" * 1000 + b"2" * 1000


def test_a_whole_stack_behind_a_server_answers_head_and_get_alike(app: App) -> None:
    idem = Idempotency("http", store=MemoryBackend().states)
    stack = IdempotencyMiddleware(app, idem)
    for wrap in (ConditionalMiddleware, CompressionMiddleware):
        stack = wrap(stack)
    whole = TracingMiddleware(
        MetricsMiddleware(RateLimitMiddleware(stack, RateLimiter("api", per_hour(100))), name="x")
    )
    with serving(whole) as url, httpx.Client() as http:
        got, head = http.get(url), http.head(url)
        posted = [http.post(url, content=b"1", headers=KEY) for _ in range(2)]
    assert (got.status_code, head.status_code, head.content) == (201, 201, b"")
    assert got.headers["content-length"] == "4"
    assert [answer.content for answer in posted] == [b"got 1"] * 2
    assert {"ratelimit", "x-correlation-id"} <= head.headers.keys()
