"""Which answers to a request with an Idempotency-Key are kept, and how its key may be written."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from sdpatterns import Idempotency, Pipeline, RateLimiter, Retry, per_minute
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.codec import JsonCodec
from sdpatterns.errors import ClaimLost
from sdpatterns.web.asgi.idempotency import IdempotencyMiddleware, judges
from sdpatterns.web.asgi.ratelimit import RateLimitMiddleware
from sdpatterns.web.httpx import AsyncTransport
from sdpatterns.web.problems import problem_of
from tests.web.asgi.asking import answer, client

pytestmark = pytest.mark.anyio

KEY = {"idempotency-key": '"8e"'}


def policy(**settings: Any) -> Idempotency:
    return Idempotency("http", store=MemoryBackend().states, **settings)


class Answers:
    """Answers with each status of the list, and then with 201."""

    def __init__(self, *statuses: int, headers: dict[str, str] | None = None) -> None:
        self.statuses = list(statuses)
        self.headers = headers or {}
        self.calls = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.calls += 1
        status = self.statuses.pop(0) if self.statuses else 201
        await answer(send, status, b"" if status == 304 else b"fine", [(b"location", b"/elsewhere/")])


async def test_a_redirect_of_the_request_is_followed_with_the_same_key() -> None:
    app = FastAPI()
    calls: list[str] = []

    @app.post("/orders/")
    async def order() -> str:
        calls.append("order")
        return "o-1"

    async with client(IdempotencyMiddleware(app, policy()), raise_app_exceptions=True) as http:
        http.follow_redirects = True
        answers = [await http.post("/orders", headers=KEY, json={"sku": "a"}) for _ in range(2)]
    assert [(each.status_code, each.json()) for each in answers] == [(200, "o-1")] * 2
    assert calls == ["order"]


async def test_an_answer_that_asks_for_the_request_again_is_not_kept() -> None:
    for status in (300, 301, 307, 308, 401, 407, 408, 411, 412, 417, 421, 423, 425, 426, 428, 429, 431, 500, 503):
        app = Answers(status)
        async with client(IdempotencyMiddleware(app, policy())) as http:
            found = [(await http.post("/", headers=KEY)).status_code for _ in range(3)]
        assert (found, app.calls, judges(status)) == ([status, 201, 201], 2, False)


async def test_an_answer_that_judges_the_request_is_kept() -> None:
    for status in (200, 201, 202, 204, 302, 303, 400, 402, 403, 404, 405, 406, 409, 410, 413, 415, 422, 424, 451):
        app = Answers(status)
        async with client(IdempotencyMiddleware(app, policy())) as http:
            found = [await http.post("/", headers=KEY) for _ in range(3)]
        assert ([each.status_code for each in found], app.calls, judges(status)) == ([status] * 3, 1, True)
        assert {each.headers["location"] for each in found} == {"/elsewhere/"}


async def test_a_form_that_was_taken_is_not_taken_again_though_it_redirects() -> None:
    taken: list[bytes] = []

    async def take(request: Any) -> Response:
        taken.append(await request.body())
        return RedirectResponse("/thanks", 303)

    app = Starlette(routes=[Route("/buy", take, methods=["POST"])])
    async with client(IdempotencyMiddleware(app, policy())) as http:
        answers = [await http.post("/buy", headers=KEY, content=b"one") for _ in range(2)]
    assert [(each.status_code, each.headers["location"]) for each in answers] == [(303, "/thanks")] * 2
    assert taken == [b"one"]


async def test_an_error_with_retry_after_is_not_kept_whatever_the_setting_says() -> None:
    app = Starlette()
    calls: list[int] = []

    async def order(request: Any) -> Response:
        calls.append(1)
        busy = len(calls) == 1
        return Response("x", 409 if busy else 202, {"Retry-After": "1"})

    app.add_route("/", order, methods=["POST"])
    async with client(IdempotencyMiddleware(app, policy(), stores=lambda _status: True)) as http:
        found = [(await http.post("/", headers=KEY)).status_code for _ in range(3)]
    assert (found, len(calls)) == ([409, 202, 202], 2)


async def test_our_own_refusals_further_in_are_not_kept() -> None:
    limiter = RateLimiter("api", per_minute(1), store=MemoryBackend().states)
    app = IdempotencyMiddleware(RateLimitMiddleware(Answers(), limiter), policy())
    async with client(app) as http:
        first = await http.post("/", headers=KEY)
        refused = [await http.post("/", headers={"idempotency-key": '"other"'}) for _ in range(2)]
    assert [first.status_code, *(each.status_code for each in refused)] == [201, 429, 429]
    assert all("idempotency" not in each.text for each in refused)
    lost = problem_of(ClaimLost("http", "k"))
    assert lost is not None
    assert lost.retry_after_s is not None


async def test_our_own_transport_repeats_a_429_with_its_key_and_gets_the_answer() -> None:
    app = Answers(429, 425)
    server = httpx.ASGITransport(IdempotencyMiddleware(app, policy()))
    retry = Retry(on=httpx.TransportError, attempts_max=4, backoff=lambda _number: 0.0, idempotent=True)
    transport = AsyncTransport(Pipeline(retry, name="shop"), inner=server, unavailable=(429, 425))
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.example") as http:
        assert (await http.post("/", headers=KEY)).status_code == 201
    assert app.calls == 3


async def test_a_function_that_chooses_and_raises_counts_as_yes_because_the_work_was_done() -> None:
    def broken(_status: int) -> bool:
        raise KeyError("status")

    app = Answers()
    async with client(IdempotencyMiddleware(app, policy(), stores=broken)) as http:
        found = [(await http.post("/", headers=KEY)).status_code for _ in range(2)]
    assert (found, app.calls) == ([201, 201], 1)


async def test_an_answer_that_the_policys_codec_cannot_write_is_given_and_not_run_again() -> None:
    def broken(_value: Any) -> Any:
        raise ZeroDivisionError

    app = Answers()
    async with client(IdempotencyMiddleware(app, policy(codec=JsonCodec(broken, broken)))) as http:
        found = [(await http.post("/", headers=KEY)).status_code for _ in range(3)]
    assert (found, app.calls) == ([201, 409, 409], 1)


async def test_a_stream_passes_at_once_and_is_kept_all_the_same() -> None:
    began, ended = asyncio.Event(), asyncio.Event()
    calls: list[int] = []

    async def lines() -> Any:
        calls.append(1)
        yield b'{"n": 1}\n'
        await ended.wait()
        yield b'{"n": 2}\n'

    async def stream(request: Any) -> Response:
        return StreamingResponse(lines(), media_type="application/x-ndjson")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)
        if message.get("body"):
            began.set()

    async def receive() -> Any:
        if not asked.is_set():
            asked.set()
            return {"type": "http.request", "body": b"", "more_body": False}
        return await asyncio.Future()

    asked = asyncio.Event()
    app = IdempotencyMiddleware(Starlette(routes=[Route("/", stream, methods=["POST"])]), policy())
    scope = {
        "type": "http", "method": "POST", "path": "/", "query_string": b"",
        "headers": [(b"idempotency-key", b'"8e"')],
    }  # fmt: skip
    task = asyncio.create_task(app(dict(scope), receive, send))
    async with asyncio.timeout(60):
        await began.wait()
    assert [each.get("body") for each in sent] == [None, b'{"n": 1}\n']
    ended.set()
    await task
    first, sent[:] = list(sent), []
    asked.clear()
    await app(dict(scope), receive, send)
    assert b"".join(each.get("body", b"") for each in first) == b'{"n": 1}\n{"n": 2}\n'
    assert b"".join(each.get("body", b"") for each in sent) == b'{"n": 1}\n{"n": 2}\n'
    assert calls == [1]


async def test_an_answer_by_a_path_that_only_the_server_reads_passes_and_is_not_run_again() -> None:
    calls: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        calls.append(1)
        await send({"type": "http.response.start", "status": 200, "headers": iter([(b"content-length", b"4")])})
        await send({"type": "http.response.pathsend", "path": "/srv/x"})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    keyed = IdempotencyMiddleware(app, policy())
    for _ in range(2):
        scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"idempotency-key", b'"8e"')]}
        await keyed(scope, receive, send)
    assert sent == ["http.response.start", "http.response.pathsend", "http.response.start", "http.response.body"]
    assert calls == [1]


async def test_a_key_may_come_without_quotes_and_in_another_header() -> None:
    app = Answers()
    settings: dict[str, Any] = {"header": "PayPal-Request-Id", "quotes": "optional"}
    async with client(IdempotencyMiddleware(app, policy(), required=True, **settings)) as http:
        for value in ("8e03-978e", '"8e03-978e"', "8e03-978e"):
            assert (await http.post("/", headers={"PayPal-Request-Id": value})).status_code == 201
        refused = [
            await http.post("/", headers={"PayPal-Request-Id": value})
            for value in ("", '"8e', "two words", "a, b", "x" * 256, "ß".encode(), '"a", "b"')
        ]
        twice = await http.post("/", headers=[("PayPal-Request-Id", "a"), ("PayPal-Request-Id", "b")])
        missing = await http.post("/", headers=KEY)
    assert app.calls == 1
    assert {each.status_code for each in [*refused, twice, missing]} == {400}
    assert missing.json()["title"] == "PayPal-Request-Id is missing or malformed"
    assert "PayPal-Request-Id" in missing.json()["detail"]


async def test_by_default_quotes_are_required() -> None:
    async with client(IdempotencyMiddleware(Answers(), policy())) as http:
        assert (await http.post("/", headers={"idempotency-key": "8e"})).status_code == 400


async def test_the_tenant_may_be_looked_up() -> None:
    async def tenant(scope: Any) -> str:
        await asyncio.sleep(0)
        return dict(scope["headers"])[b"authorization"].decode()

    app = Answers()
    async with client(IdempotencyMiddleware(app, policy(), tenant=tenant)) as http:
        for name in ("ann", "bob", "ann"):
            assert (await http.post("/", headers={**KEY, "authorization": name})).status_code == 201
    assert app.calls == 2


async def test_bad_settings_are_refused_when_it_is_built() -> None:
    async def later(_: Any) -> bool:
        return True

    for field in ("required", "stores"):
        with pytest.raises(TypeError, match=f"{field} must be a plain function"):
            IdempotencyMiddleware(Answers(), policy(), **{field: later})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="header must be"):
        IdempotencyMiddleware(Answers(), policy(), header="two words")
    with pytest.raises(ValueError, match="quotes must be"):
        IdempotencyMiddleware(Answers(), policy(), quotes="never")  # type: ignore[arg-type]
