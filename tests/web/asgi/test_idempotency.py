"""What each request with an Idempotency-Key gets."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from sdpatterns import Idempotency, listen
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.coordination.idempotency.notices import ClaimBypassed
from sdpatterns.core.notices import Notice
from sdpatterns.errors import BackendUnavailable
from sdpatterns.web.asgi.idempotency import IdempotencyMiddleware
from tests.coordination.idempotency.slow_store import SlowStates
from tests.web.asgi.asking import client
from tests.web.conftest import Serve

pytestmark = pytest.mark.anyio


class Shop:
    """Counts what it was asked to do; what it answers is decided by the request."""

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self.lasts_s = 0.0
        self.after: list[str] = []

    async def pay(self, request: Any) -> Response:
        body = await request.body()
        asked = json.loads(body or b"{}")
        self.runs[request.url.path] += 1
        await asyncio.sleep(self.lasts_s)
        if asked.get("raise"):
            raise OSError("broken")
        headers = {"x-run": str(sum(self.runs.values())), "set-cookie": "session=secret", "connection": "close"}
        if "stream" in asked:
            parts = (b"x" * 1000 for _ in range(asked["stream"]))
            return StreamingResponse(parts, media_type=asked.get("type", "text/plain"), headers=headers)
        content = bytes(range(256)) + body
        after = BackgroundTask(self.after.append, "ran")
        return Response(content, asked.get("status", 201), headers, "application/x-bytes", after)


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def store() -> SlowStates:
    return SlowStates(MemoryBackend())


def guarded(shop: Shop, store: Any, policy: dict[str, Any] | None = None, **settings: Any) -> IdempotencyMiddleware:
    routes = [Route(path, shop.pay, methods=["GET", "POST", "PATCH"]) for path in ("/pay", "/refund")]
    idem = Idempotency("http", store=store, **(policy or {}))
    return IdempotencyMiddleware(Starlette(routes=routes), idem, **settings)


KEY = {"Idempotency-Key": '"8e03978e-40d5"'}


async def test_the_first_answer_comes_again_byte_for_byte(shop: Shop, store: SlowStates) -> None:
    async with client(guarded(shop, store)) as http:
        first, again = [await http.post("/pay", json={"amount": 5}, headers=KEY) for _ in range(2)]
    assert shop.runs == {"/pay": 1}
    assert (first.status_code, first.content) == (again.status_code, again.content) == (201, first.content)
    kept = [pair for pair in first.headers.multi_items() if pair[0] not in {"set-cookie", "connection"}]
    assert again.headers.multi_items() == kept, "all but the cookie and what belongs to one connection"
    assert shop.after == ["ran"]


@pytest.mark.parametrize(
    "change",
    [
        {"url": "/refund"},
        {"url": "/pay?tip=1"},
        {"method": "PATCH"},
        {"content": b'{"amount": 6}'},
        {"content": b'{"amount":5}'},
        {"content": b""},
        {"headers": KEY | {"content-type": "text/plain"}},
    ],
    ids=str,
)
async def test_another_request_with_the_same_key_is_refused(
    shop: Shop, store: SlowStates, change: dict[str, Any]
) -> None:
    headers = KEY | {"content-type": "application/json"}
    request = {"method": "POST", "url": "/pay", "content": b'{"amount": 5}', "headers": headers}
    async with client(guarded(shop, store)) as http:
        assert (await http.request(**request)).status_code == 201
        other = await http.request(**(request | change))
        assert (await http.request(**request)).status_code == 201
    assert (other.status_code, other.headers["content-type"]) == (422, "application/problem+json")
    assert sum(shop.runs.values()) == 1


async def test_two_customers_may_choose_the_same_key(shop: Shop, store: SlowStates) -> None:
    def tenant(scope: Any) -> str:
        return dict(scope["headers"])[b"x-tenant"].decode()  # type: ignore[no-any-return]

    async with client(guarded(shop, store, tenant=tenant)) as http:
        answers = [await http.post("/pay", headers=KEY | {"x-tenant": name}) for name in ("a", "b", "a")]
    assert [answer.headers["x-run"] for answer in answers] == ["1", "2", "1"]


@pytest.mark.parametrize(
    "header",
    [
        "8e03978e", '"unclosed', '""', '"' + "x" * 256 + '"', '"a", "b"', "42", "?1", ":YWJj:", '("a")', "", '"a\tb"',
        '"é"', '%"a"', '"a";', '"a" "b"',
    ],
)  # fmt: skip
async def test_a_malformed_key_is_a_400(shop: Shop, store: SlowStates, header: str) -> None:
    async with client(guarded(shop, store)) as http:
        response = await http.post("/pay", headers=[(b"idempotency-key", header.encode())])
    assert (response.status_code, response.headers["content-type"]) == (400, "application/problem+json")
    assert shop.runs == {}


async def test_a_key_given_twice_is_a_400_and_parameters_are_ignored(shop: Shop, store: SlowStates) -> None:
    async with client(guarded(shop, store)) as http:
        twice = await http.post("/pay", headers=[("idempotency-key", '"a"'), ("idempotency-key", '"b"')])
        first = await http.post("/pay", headers={"idempotency-key": '"a"'})
        again = await http.post("/pay", headers={"idempotency-key": '"a"; v=1'})
    assert (twice.status_code, first.status_code, again.content) == (400, 201, first.content)
    assert shop.runs == {"/pay": 1}


async def test_a_missing_key_is_a_400_only_where_it_is_required(shop: Shop, store: SlowStates) -> None:
    def payments(scope: Any) -> bool:
        return bool(scope["path"] == "/pay")

    async with client(guarded(shop, store, required=payments)) as http:
        assert (await http.post("/pay")).status_code == 400
        assert (await http.post("/refund")).status_code == 201
        assert (await http.get("/pay")).status_code == 201
    async with client(guarded(shop, store, required=True)) as http:
        assert (await http.patch("/refund")).status_code == 400


async def test_methods_that_are_not_guarded_pass_with_their_key(shop: Shop, store: SlowStates) -> None:
    async with client(guarded(shop, store)) as http:
        assert [(await http.get("/pay", headers=KEY)).headers["x-run"] for _ in range(2)] == ["1", "2"]
    assert store.steps == []


async def test_a_request_in_flight_is_a_409_that_says_when_to_come_again(shop: Shop, store: SlowStates) -> None:
    shop.lasts_s = 0.05
    async with client(guarded(shop, store)) as http:
        answers = await asyncio.gather(*(http.post("/pay", headers=KEY) for _ in range(50)))
        again = await http.post("/pay", headers=KEY)
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 49}
    assert {answer.headers.get("retry-after") for answer in answers} == {None, "1"}
    assert shop.runs == {"/pay": 1}
    assert again.content == next(answer.content for answer in answers if answer.status_code == 201)


async def test_over_real_sockets_fifty_at_once_are_carried_out_once(shop: Shop, serve: Serve) -> None:
    shop.lasts_s = 0.05
    backend = MemoryBackend()
    waiting = {"on_busy": "wait", "signals": backend.signals}
    async with (
        serve(guarded(shop, backend.states, waiting)) as url,
        httpx.AsyncClient(base_url=url, limits=httpx.Limits(max_connections=50)) as http,
    ):
        answers = await asyncio.gather(*(http.post("/pay", json={"amount": 5}, headers=KEY) for _ in range(50)))
        other = await http.post("/pay", json={"amount": 6}, headers=KEY)
    assert {(answer.status_code, answer.content) for answer in answers} == {(201, answers[0].content)}
    assert other.status_code == 422
    assert shop.runs == {"/pay": 1}


async def test_an_exception_frees_the_key(shop: Shop, store: SlowStates) -> None:
    async with client(guarded(shop, store), raise_app_exceptions=False) as http:
        answers = [await http.post("/pay", json={"raise": 1}, headers=KEY) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [500] * 3
    assert shop.runs == {"/pay": 3}


@pytest.mark.parametrize(("status", "runs"), [(200, 1), (404, 1), (499, 1), (500, 2), (503, 2)])
async def test_an_answer_of_the_servers_fault_frees_the_key(
    shop: Shop, store: SlowStates, status: int, runs: int
) -> None:
    async with client(guarded(shop, store)) as http:
        answers = [await http.post("/pay", json={"status": status}, headers=KEY) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [status] * 2
    assert shop.runs == {"/pay": runs}


async def test_which_answers_are_stored_can_be_chosen(shop: Shop, store: SlowStates) -> None:
    async with client(guarded(shop, store, stores=lambda status: status == 503)) as http:
        for status in (201, 201, 503, 503):
            await http.post("/pay", json={"status": status}, headers={"idempotency-key": f'"{status}"'})
    assert shop.runs == {"/pay": 3}


async def test_a_body_over_the_bound_is_a_413_declared_or_not(shop: Shop, store: SlowStates) -> None:
    async def chunks() -> Any:
        for _ in range(11):
            yield b"x" * 100

    async with client(guarded(shop, store, body_bytes_max=1000)) as http:
        declared = await http.post("/pay", content=b"x" * 1001, headers=KEY)
        streamed = await http.post("/pay", content=chunks(), headers=KEY)
        fits = await http.post("/pay", content=b"{" + b" " * 998 + b"}", headers=KEY)
        unguarded = await http.post("/pay", content=b"{" + b" " * 999 + b"}")
    assert [answer.status_code for answer in (declared, streamed, fits, unguarded)] == [413, 413, 201, 201]
    assert store.steps.count("TakeClaim") == 1


async def test_a_short_stream_is_kept(shop: Shop, store: SlowStates) -> None:
    async with client(guarded(shop, store, answer_bytes_max=5000)) as http:
        answers = [await http.post("/pay", json={"stream": 5}, headers=KEY) for _ in range(2)]
    assert [answer.content for answer in answers] == [b"x" * 5000] * 2
    assert shop.runs == {"/pay": 1}


@pytest.mark.parametrize("asked", [{"stream": 6}, {"stream": 2, "type": "text/event-stream"}], ids=["long", "events"])
async def test_a_stream_that_is_not_kept_passes_and_is_not_run_again(
    shop: Shop, store: SlowStates, asked: dict[str, Any]
) -> None:
    async with client(guarded(shop, store, answer_bytes_max=5000)) as http:
        first, again = [await http.post("/pay", json=asked, headers=KEY) for _ in range(2)]
    assert first.content == b"x" * 1000 * asked["stream"]
    assert (again.status_code, again.json()["title"]) == (409, "The answer was not kept")
    assert "retry-after" not in again.headers
    assert shop.runs == {"/pay": 1}


async def test_one_long_answer_passes_whole(shop: Shop, store: SlowStates) -> None:
    async with client(guarded(shop, store, answer_bytes_max=300)) as http:
        first, again = [await http.post("/pay", json={"pad": "x" * 300}, headers=KEY) for _ in range(2)]
    assert (first.status_code, int(first.headers["content-length"])) == (201, len(first.content))
    assert (again.status_code, again.json()["title"]) == (409, "The answer was not kept")


async def test_while_the_store_is_away_nothing_is_carried_out(shop: Shop, store: SlowStates) -> None:
    async def away(_step: str) -> None:
        raise BackendUnavailable("redis://secret is away")

    store.before = away
    async with client(guarded(shop, store)) as http:
        response = await http.post("/pay", headers=KEY)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert "secret" not in response.text
    assert shop.runs == {}


async def test_while_the_store_is_away_requests_may_pass_unguarded(
    shop: Shop, store: SlowStates, caplog: pytest.LogCaptureFixture
) -> None:
    async def away(_step: str) -> None:
        raise BackendUnavailable("away")

    store.before = away
    heard: list[Notice] = []
    async with client(guarded(shop, store, {"on_outage": "allow"})) as http:
        with listen(heard.append):
            answers = [await http.post("/pay", json={"amount": 5}, headers=KEY) for _ in range(2)]
    assert [answer.content[256:] for answer in answers] == [b'{"amount":5}'] * 2
    assert shop.runs == {"/pay": 2}
    assert [type(notice) for notice in heard] == [ClaimBypassed] * 2
    assert [record.levelname for record in caplog.records if record.name == "sdpatterns"] == ["WARNING"]


async def test_a_store_that_is_full_lifts_no_protection(shop: Shop, store: SlowStates) -> None:
    async with client(guarded(shop, store, {"on_outage": "allow", "keys_max": 1})) as http:
        assert (await http.post("/pay", headers=KEY)).status_code == 201
        assert (await http.post("/pay", headers={"Idempotency-Key": '"another"'})).status_code == 503
    assert shop.runs == {"/pay": 1}


async def test_an_answer_that_could_not_be_stored_is_not_given(shop: Shop, store: SlowStates) -> None:
    async def away(step: str) -> None:
        if step == "Settle":
            raise BackendUnavailable("away")

    store.before = away
    async with client(guarded(shop, store, {"lease_s": 0.1})) as http:
        response = await http.post("/pay", headers=KEY)
    assert response.status_code == 503


async def test_an_outage_of_the_applications_own_is_the_applications_to_answer(store: SlowStates) -> None:
    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        raise BackendUnavailable("its own database")

    async with client(IdempotencyMiddleware(app, Idempotency("http", store=store))) as http:
        with pytest.raises(BackendUnavailable, match="its own database"):
            await http.post("/pay", headers=KEY)
    assert store.steps == ["TakeClaim", "Release"]


async def test_a_request_whose_claim_was_lost_is_told_to_come_again(shop: Shop, store: SlowStates) -> None:
    app = guarded(shop, store, {"lease_s": 0.06})

    async def lost(step: str) -> None:
        if step == "Renew":
            await app._idempotency.forget(("", "8e03978e-40d5"))

    store.before = lost
    shop.lasts_s = 5.0
    async with client(app) as http:
        response = await http.post("/pay", headers=KEY)
    assert (response.status_code, response.headers["content-type"]) == (409, "application/problem+json")


async def told(app: Any, messages: list[dict[str, Any]], *headers: tuple[bytes, bytes]) -> list[Any]:
    """What an application sends to a client that sends these messages."""
    sent: list[Any] = []
    scope = {
        "type": "http", "method": "POST", "path": "/pay", "query_string": b"",
        "headers": [(b"idempotency-key", b'"k"'), *headers],
        "extensions": {"http.response.pathsend": {}, "tls": {}},
    }  # fmt: skip
    pending = list(messages)

    async def receive() -> Any:
        return pending.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


async def test_a_client_that_leaves_before_its_body_is_complete_begins_nothing(shop: Shop, store: SlowStates) -> None:
    messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    assert await told(guarded(shop, store), messages) == []
    assert store.steps == []


async def test_a_body_that_is_declared_too_long_is_not_waited_for(shop: Shop, store: SlowStates) -> None:
    for length in (b"1001", b"9" * 5000):
        sent = await told(guarded(shop, store, body_bytes_max=1000), [], (b"content-length", length))
        assert sent[0]["status"] == 413


async def test_the_application_sees_one_whole_body_and_then_its_client_leave(store: SlowStates) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["extensions"])
        seen.extend([await receive(), await receive()])
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    messages = [
        {"type": "http.request", "body": b"a", "more_body": True},
        {"type": "http.request", "body": b"b"},
        {"type": "http.disconnect"},
    ]
    sent = await told(IdempotencyMiddleware(app, Idempotency("http", store=store)), messages)
    assert seen == [
        {"tls": {}},
        {"type": "http.request", "body": b"ab", "more_body": False},
        {"type": "http.disconnect"},
    ]
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


async def test_an_application_that_never_answers_frees_the_key(store: SlowStates) -> None:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    guarded_app = IdempotencyMiddleware(app, Idempotency("http", store=store))
    assert await told(guarded_app, [{"type": "http.request"}]) == []
    assert store.steps == ["TakeClaim", "Release"]


async def test_an_error_that_counts_as_an_answer_is_raised_again(store: SlowStates) -> None:
    runs: list[str] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        runs.append(scope["path"])
        raise OSError("broken")

    idem = Idempotency("http", store=store, store_errors=[OSError])
    async with client(IdempotencyMiddleware(app, idem)) as http:
        for _ in range(2):
            with pytest.raises(OSError, match="broken"):
                await http.post("/pay", headers=KEY)
    assert runs == ["/pay"]


@pytest.mark.parametrize("field", ["body_bytes_max", "answer_bytes_max"])
async def test_bad_settings_are_refused_by_name(shop: Shop, store: SlowStates, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        guarded(shop, store, **{field: -1})
    with pytest.raises(ValueError, match="answer_bytes_max"):
        guarded(shop, store, {"answer_bytes_max": 1000}, answer_bytes_max=501)


async def test_the_largest_answer_that_is_allowed_can_be_stored(shop: Shop, store: SlowStates) -> None:
    async with client(guarded(shop, store, {"answer_bytes_max": 40_000}, answer_bytes_max=20_000)) as http:
        answers = [await http.post("/pay", json={"stream": 20}, headers=KEY) for _ in range(2)]
    assert [len(answer.content) for answer in answers] == [20_000] * 2


@pytest.mark.parametrize("how", ["returns", "raises"])
@pytest.mark.parametrize("bytes_max", [100, 0], ids=["held back", "passing"])
async def test_an_answer_that_its_client_cut_off_was_carried_out(store: SlowStates, how: str, bytes_max: int) -> None:
    runs: list[int] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        runs.append(1)
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        assert (await receive())["type"] == "http.disconnect"
        if how == "raises":
            raise OSError("the client left")

    kept = IdempotencyMiddleware(app, Idempotency("http", store=store), answer_bytes_max=bytes_max)
    left = [{"type": "http.request", "body": b"a"}, {"type": "http.disconnect"}]
    if how == "raises":
        with pytest.raises(OSError, match="left"):
            await told(kept, left)
    else:
        await told(kept, left)
    again = await told(kept, left)
    assert (again[0]["status"], runs) == (409, [1])
    assert b"retry-after" not in dict(again[0]["headers"])


async def test_an_answer_of_the_servers_fault_that_was_cut_off_frees_the_key(store: SlowStates) -> None:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 502, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    kept = IdempotencyMiddleware(app, Idempotency("http", store=store), answer_bytes_max=0)
    await told(kept, [{"type": "http.request", "body": b"a"}])
    assert store.steps == ["TakeClaim", "Release"]


async def test_a_framework_that_answers_500_frees_the_key_before_its_error_is_seen(store: SlowStates) -> None:
    async def fail(_request: Any) -> Response:
        raise OSError("broken")

    idem = Idempotency("http", store=store, store_errors=OSError)
    kept = IdempotencyMiddleware(Starlette(routes=[Route("/pay", fail, methods=["POST"])]), idem)
    async with client(kept, raise_app_exceptions=False) as http:
        assert [(await http.post("/pay", headers=KEY)).status_code for _ in range(2)] == [500, 500]
    assert store.steps.count("TakeClaim") == 2
