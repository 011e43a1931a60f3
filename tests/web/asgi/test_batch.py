"""What the requests of a batch get, each for itself."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from sdpatterns import Idempotency, RateLimiter, per_minute
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core import context
from sdpatterns.core.context import deadline_left_s, with_deadline
from sdpatterns.web.asgi.batch import BatchMiddleware
from sdpatterns.web.asgi.idempotency import IdempotencyMiddleware
from sdpatterns.web.asgi.ratelimit import RateLimitMiddleware
from sdpatterns.web.asgi.tracing import TracingMiddleware
from tests.loops import on_virtual_asyncio
from tests.web.asgi.asking import client
from tests.web.conftest import Serve

pytestmark = pytest.mark.anyio

MARKED: ContextVar[str] = ContextVar("marked", default="unmarked")


class Shop:
    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self.together = self.most = 0
        self.left_s: list[float | None] = []
        self.finished: list[str] = []

    async def echo(self, request: Any) -> Response:
        self.runs["echo"] += 1
        body = (await request.body()).decode()
        seen = {"method": request.method, "url": str(request.url), "body": body, "headers": dict(request.headers)}
        return JSONResponse(seen, headers={"x-own": "1"})

    async def fixed(self, request: Any) -> Response:
        kinds: dict[str, Response] = {
            "price": Response(b'{"price": 1.10}', media_type="application/json"),
            "broken": Response(b'{"price": NaN}', media_type="application/json"),
            "text": PlainTextResponse("grüße"),
            "bytes": Response(b"\xff\x00", media_type="image/png"),
            "coded": Response(b"abc", headers={"content-encoding": "gzip"}),
            "nothing": Response(status_code=204),
            "twice": Response(b"", headers={"vary": "Accept"}),
            "large": Response(b"x" * 1001),
            "endless": StreamingResponse(iter(["data: 1\n\n"]), media_type="text/event-stream"),
            "cookie": Response(b""),
        }
        answer = kinds[request.path_params["kind"]]
        answer.headers.append("vary", "Accept-Language")
        if request.path_params["kind"] == "cookie":
            answer.set_cookie("seen", request.url.query)
        return answer

    async def fail(self, request: Any) -> Response:
        self.runs["fail"] += 1
        raise OSError("broken")

    async def slow(self, request: Any) -> Response:
        self.runs["slow"] += 1
        self.left_s.append(deadline_left_s())
        self.together += 1
        self.most = max(self.most, self.together)
        try:
            await asyncio.sleep(float(request.query_params.get("s", "0.01")))
        finally:
            self.together -= 1
        self.finished.append(request.query_params.get("n", ""))
        return PlainTextResponse("slept")

    async def traced(self, request: Any) -> Response:
        here = context.trace.get()
        before = MARKED.get()
        MARKED.set("marked")
        assert here is not None
        return JSONResponse([here.trace_id, context.correlation_id.get(), before])

    def routes(self) -> list[Route]:
        every = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        return [
            Route("/echo/{rest:path}", self.echo, methods=every),
            Route("/fixed/{kind}", self.fixed),
            Route("/fail", self.fail),
            Route("/slow", self.slow),
            Route("/traced", self.traced),
        ]


@pytest.fixture
def shop() -> Shop:
    return Shop()


def batched(shop: Shop, **settings: Any) -> BatchMiddleware:
    return BatchMiddleware(Starlette(routes=shop.routes()), **settings)


def get(*paths: str) -> list[dict[str, Any]]:
    return [{"id": str(place), "path": path} for place, path in enumerate(paths)]


async def ask(app: Any, items: Any, **more: Any) -> httpx.Response:
    async with client(app) as http:
        headers = {"content-type": "application/json"} | more.pop("headers", {})
        return await http.post("/batch", content=json.dumps(items), headers=headers, **more)


async def test_each_request_is_answered_for_itself_in_its_place(shop: Shop) -> None:
    items = [
        {"id": "b", "method": "POST", "path": "/echo/caf%C3%A9?x=1&y=a%2Fb", "body": {"sku": "a", "n": 2}},
        {"id": "a", "method": "PUT", "path": "/echo/", "headers": {"Content-Type": "text/plain"}, "body": "grüße"},
        {"id": "c", "path": "/nowhere"},
        {"id": "d", "path": "/fail"},
    ]
    answer = await ask(batched(shop), items)
    assert answer.status_code == 200
    posted, put, missing, failed = answer.json()
    assert [each["id"] for each in answer.json()] == ["b", "a", "c", "d"]
    assert (posted["status"], posted["headers"]["x-own"]) == (200, "1")
    assert posted["body"]["url"] == "http://shop.example/echo/café?x=1&y=a%2Fb"
    assert posted["body"]["method"] == "POST"
    assert json.loads(posted["body"]["body"]) == {"sku": "a", "n": 2}
    assert posted["body"]["headers"]["content-type"] == "application/json"
    assert (put["body"]["body"], put["body"]["headers"]["content-type"]) == ("grüße", "text/plain")
    assert put["body"]["headers"]["content-length"] == "7"
    assert (missing["status"], missing["body"]) == (404, "Not Found")
    assert (failed["status"], failed["body"]) == (500, "Internal Server Error")


async def test_an_item_inherits_who_asks_and_not_what_describes_the_batch(shop: Shop) -> None:
    headers = {
        "Authorization": "Bearer t", "Cookie": "session=s", "X-Forwarded-For": "203.0.113.9",
        "If-None-Match": '"x"', "Idempotency-Key": '"k"', "Accept": "text/html",
    }  # fmt: skip
    own = {"Accept": "application/json", "Idempotency-Key": '"mine"'}
    answer = await ask(batched(shop), [{"id": "a", "path": "/echo/", "headers": own}], headers=headers)
    seen = answer.json()[0]["body"]["headers"]
    assert (seen["authorization"], seen["cookie"], seen["x-forwarded-for"]) == ("Bearer t", "session=s", "203.0.113.9")
    assert (seen["accept"], seen["idempotency-key"]) == ("application/json", '"mine"')
    assert not {"if-none-match", "content-length", "content-type", "accept-encoding"} & seen.keys()


@pytest.mark.parametrize(
    "item",
    [
        {"path": "nowhere"},
        {"path": "//evil.example/"},
        {"path": "http://evil.example/"},
        {"path": "/a b"},
        {"path": "/é"},
        {"path": "/a#b"},
        {"path": "/a%zz"},
        {"path": "/a\r\nX: 1"},
        {"path": "/" + "a" * 8192},
        {"path": 7},
        {},
        {"path": "/echo/", "headers": {"X-Forwarded-For": "203.0.113.9"}},
        {"path": "/echo/", "headers": {"Cookie": "session=other"}},
        {"path": "/echo/", "headers": {"Authorization": "Bearer other"}},
        {"path": "/echo/", "headers": {"Accept": "a\r\nX: 1"}},
        {"path": "/echo/", "headers": {"Accept": 7}},
        {"path": "/echo/", "headers": {"Accept": "a", "accept": "b"}},
        {"path": "/echo/", "headers": []},
        {"path": "/echo/", "method": "POST", "headers": {"Content-Type": "text/plain"}, "body": {"a": 1}},
        {"path": "/echo/", "method": "POST", "headers": {"Content-Type": "text/plain"}, "body": "\ud800"},
        {"path": "/echo/", "url": "/echo/"},
        {"path": "/batch"},
        {"path": "/b%61tch"},
    ],
    ids=lambda item: json.dumps(item)[:60],
)
async def test_an_item_that_cannot_be_asked_is_a_400_of_its_own(shop: Shop, item: dict[str, Any]) -> None:
    answer = await ask(batched(shop), [{"id": "bad"} | item, {"id": "good", "path": "/echo/"}])
    bad, good = answer.json()
    assert (bad["status"], bad["headers"]["content-type"], good["status"]) == (400, "application/problem+json", 200)
    assert shop.runs["echo"] == 1


@pytest.mark.parametrize("method", ["TRACE", "get", "", 7, ["GET"]])
async def test_a_method_that_is_not_allowed_is_a_405_of_its_item(shop: Shop, method: Any) -> None:
    answer = await ask(batched(shop), [{"id": "a", "path": "/echo/", "method": method}])
    assert (answer.json()[0]["status"], shop.runs["echo"]) == (405, 0)


async def test_methods_and_headers_can_be_chosen(shop: Shop) -> None:
    app = batched(shop, methods=["get"], headers=["X-Mine"], path="/many")
    items = [
        {"id": "a", "path": "/echo/", "headers": {"x-mine": "1"}},
        {"id": "b", "path": "/echo/", "method": "POST"},
        {"id": "c", "path": "/echo/", "headers": {"Accept": "1"}},
    ]
    async with client(app) as http:
        answer = await http.post("/many", json=items)
        assert (await http.post("/batch", json=items)).status_code == 404
    assert [each["status"] for each in answer.json()] == [200, 405, 400]
    assert answer.json()[0]["body"]["headers"]["x-mine"] == "1"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"{}", b"[]", b"7", b"[1]", b'[{"path": "/"}]', b'[{"id": 1, "path": "/"}]', b'[{"id": "\xff"}]',
        b'[{"id": "a b", "path": "/"}]', b'[{"id": "a"}, {"id": "a"}]', b"[" * 100_000, b'[{"id": "a", "body": NaN}]',
        json.dumps(get(*["/echo/"] * 21)).encode(),
    ],
    ids=lambda body: body[:30].decode("latin-1") or "empty",
)  # fmt: skip
async def test_what_is_no_batch_is_a_400_and_nothing_is_carried_out(shop: Shop, body: bytes) -> None:
    async with client(batched(shop)) as http:
        answer = await http.post("/batch", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["title"], shop.runs) == (400, "Not a batch", {})


async def test_a_batch_is_posted_as_json_and_is_not_too_large(shop: Shop) -> None:
    app = batched(shop, bytes_max=100)
    async with client(app) as http:
        got = await http.get("/batch")
        assert (got.status_code, got.headers["allow"]) == (405, "POST")
        form = await http.post("/batch", content=b"[]", headers={"content-type": "text/plain"})
        assert form.status_code == 415
        assert (await http.post("/batch", content=b"[]")).status_code == 415
        large = await http.post("/batch", json=get("/echo/" + "a" * 100))
        assert large.status_code == 413
        assert (await http.post("/echo/", content=b"x" * 101)).status_code == 200, "other requests pass"


@on_virtual_asyncio
async def test_a_batch_that_comes_in_drops_is_given_up(shop: Shop) -> None:
    async def drops() -> AsyncIterator[bytes]:
        yield b'{"requests": ['
        await asyncio.sleep(30)

    async with client(batched(shop, body_timeout_s=0.01)) as http:
        slow = await http.post("/batch", content=drops(), headers={"content-type": "application/json"})
    assert (slow.status_code, slow.headers["connection"]) == (408, "close")
    assert slow.json()["detail"] == "A batch has to arrive within 0.01 s."
    with pytest.raises(ValueError, match="body_timeout_s"):
        batched(shop, body_timeout_s=0.0)


async def test_answers_keep_their_bytes_where_they_are_json(shop: Shop) -> None:
    kinds = ["price", "broken", "text", "bytes", "coded", "nothing", "twice"]
    answer = await ask(batched(shop), get(*(f"/fixed/{kind}" for kind in kinds)))
    price, broken, text, raw, coded, nothing, twice = answer.json()
    assert b'"body":{"price": 1.10}' in answer.content
    assert (price["body"], broken["body"], text["body"]) == ({"price": 1.1}, '{"price": NaN}', "grüße")
    assert (raw["body_base64"], coded["body_base64"]) == ("/wA=", "YWJj")
    assert nothing["status"] == 204
    assert not {"body", "body_base64"} & nothing.keys()
    assert twice["headers"]["vary"] == "Accept, Accept-Language"


async def test_cookies_of_items_are_set_by_the_batch(shop: Shop) -> None:
    answer = await ask(batched(shop), get("/fixed/cookie?one", "/fixed/cookie?two"))
    assert [cookie.partition(";")[0] for cookie in answer.headers.get_list("set-cookie")] == ["seen=one", "seen=two"]
    assert "set-cookie" not in answer.json()[0]["headers"]


async def test_an_answer_without_bound_is_a_502_and_leaves_the_others(shop: Shop) -> None:
    app = batched(shop, answer_bytes_max=1000)
    answer = await ask(app, get("/fixed/large", "/fixed/endless", "/fixed/price"))
    assert [each["status"] for each in answer.json()] == [502, 502, 200]


async def test_so_many_run_beside_each_other_and_with_one_they_keep_their_order(shop: Shop) -> None:
    await ask(batched(shop, concurrency=3), get(*["/slow"] * 9))
    assert shop.most == 3
    shop.finished.clear()
    await ask(batched(shop, concurrency=1), get("/slow?n=1&s=0.02", "/slow?n=2&s=0.001", "/slow?n=3"))
    assert shop.finished == ["1", "2", "3"]


@on_virtual_asyncio
async def test_all_share_one_deadline(shop: Shop) -> None:
    app = batched(shop, timeout_s=0.2, concurrency=2)
    answer = await ask(app, get("/slow?s=0.05", "/slow?s=9", "/slow?s=9", "/echo/"))
    assert [each["status"] for each in answer.json()] == [200, 504, 504, 504]
    assert shop.runs["echo"] == 0, "not begun when the time was up"
    assert all(left_s is not None and left_s <= 0.2 + 1e-6 for left_s in shop.left_s)
    with with_deadline(0.1):
        shop.left_s.clear()
        await ask(batched(shop), get("/slow"))
    assert shop.left_s[0] is not None
    assert shop.left_s[0] <= 0.1 + 1e-6


@on_virtual_asyncio
async def test_an_item_has_no_more_time_than_its_batch_whatever_stands_before_it(shop: Shop) -> None:
    timed = TracingMiddleware(Starlette(routes=shop.routes()), trusts=lambda _scope: True, deadline_default_s=9.0)
    await ask(BatchMiddleware(timed, timeout_s=0.5), get("/slow"))
    await ask(BatchMiddleware(timed, timeout_s=0.5), get("/slow"), headers={"X-Deadline-Ms": "5000"})
    first_s, second_s = shop.left_s
    assert first_s is not None
    assert second_s is not None
    assert max(first_s, second_s) <= 0.5 + 1e-6


async def test_the_trace_is_one_and_the_context_of_each_item_its_own(shop: Shop) -> None:
    app = TracingMiddleware(batched(shop, concurrency=1))
    headers = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "X-Correlation-Id": "c-1"}
    answer = await ask(app, get("/traced", "/traced"), headers=headers)
    assert [each["body"] for each in answer.json()] == [["a" * 32, "c-1", "unmarked"]] * 2
    inside = BatchMiddleware(TracingMiddleware(Starlette(routes=shop.routes())))
    answer = await ask(inside, get("/traced"), headers=headers)
    assert answer.json()[0]["body"] == ["a" * 32, "c-1", "unmarked"]


async def test_what_stands_inside_sees_each_item_and_what_stands_outside_the_batch(shop: Shop) -> None:
    app = Starlette(routes=shop.routes())
    keyed = IdempotencyMiddleware(app, Idempotency("http", store=MemoryBackend().states))
    inside = BatchMiddleware(RateLimitMiddleware(keyed, RateLimiter("inside", per_minute(3))), concurrency=1)
    items = [
        {"id": str(n), "method": "POST", "path": "/echo/", "headers": {"Idempotency-Key": '"k"'}} for n in range(4)
    ]
    answer = await ask(RateLimitMiddleware(inside, RateLimiter("outside", per_minute(3))), items)
    assert [each["status"] for each in answer.json()] == [200, 200, 200, 429]
    assert shop.runs["echo"] == 1, "the same request under the same key"
    assert answer.headers["ratelimit"].startswith('"outside";r=2')
    assert "ratelimit" in answer.json()[0]["headers"]


async def test_a_batch_of_another_middleware_inside_is_refused_too(shop: Shop) -> None:
    app = BatchMiddleware(batched(shop, path="/inner"), path="/batch")
    item = {"id": "a", "method": "POST", "path": "/inner", "body": get("/echo/")}
    answer = await ask(app, [item])
    assert answer.json()[0]["status"] == 400
    assert shop.runs["echo"] == 0


async def test_paths_are_those_of_the_application_wherever_it_is_mounted(shop: Shop) -> None:
    async def unaware(scope: Any, receive: Any, send: Any) -> None:
        await batched(shop)({**scope, "root_path": "/api"}, receive, send)

    mounted = Starlette(routes=[Mount("/api", app=batched(shop))])
    async with client(mounted) as http:
        answer = await http.post("/api/batch", json=get("/echo/x"))
    assert answer.json()[0]["body"]["url"] == "http://shop.example/api/echo/x"
    assert (await ask(unaware, get("/echo/x"))).json()[0]["status"] == 200


async def test_the_place_where_the_application_is_mounted_is_no_path_of_its_own(shop: Shop) -> None:
    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await batched(shop)({**scope, "root_path": "/batch"}, receive, send)

    async with client(mounted) as http:
        assert (await http.post("/batch", json=get("/echo/x"))).status_code == 404
        assert (await http.post("/batch/batch", json=get("/echo/x"))).json()[0]["status"] == 200


async def test_an_application_that_answers_nothing_or_waits_for_its_client_to_leave(shop: Shop) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if scope["path"] == "/silent":
            return
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "body": b"b"})
        seen.append((await receive())["type"])
        await send({"type": "http.response.body", "body": b"late"})

    answer = await ask(BatchMiddleware(app), get("/silent", "/whole"))
    assert [(each["status"], each.get("body")) for each in answer.json()][1] == (200, "ab")
    assert (answer.json()[0]["status"], seen) == (500, ["http.disconnect"])


async def test_a_failure_that_the_application_does_not_answer_is_a_500_and_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise OSError("broken")

    answer = await ask(BatchMiddleware(app), get("/"))
    assert answer.json()[0]["status"] == 500
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [OSError]


async def test_the_state_of_the_lifespan_is_there_and_what_an_item_sets_in_it_is_its_own() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["state"]["db"], scope["state"].setdefault("who", scope["path"])))
        await Response(b"")(scope, receive, send)

    async def started(scope: Any, receive: Any, send: Any) -> None:
        await BatchMiddleware(app)({**scope, "state": {"db": 7}}, receive, send)

    await ask(started, get("/a", "/b"))
    assert sorted(seen) == [(7, "/a"), (7, "/b")]


async def test_a_client_that_leaves_before_its_batch_is_complete_begins_nothing(shop: Shop) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/batch", "headers": [(b"content-type", b"application/json")]}
    await batched(shop)(scope, receive, send)
    assert (sent, shop.runs) == ([], {})


async def test_over_real_sockets(shop: Shop, serve: Serve) -> None:
    async with serve(batched(shop)) as url, httpx.AsyncClient(base_url=url) as http:
        answer = await http.post("/batch", json=get("/echo/a", "/slow", "/fail"))
    assert [each["status"] for each in answer.json()] == [200, 200, 500]
    assert answer.json()[0]["body"]["url"] == f"{url}/echo/a"


@pytest.mark.parametrize(
    "setting",
    [
        {"items_max": 0}, {"bytes_max": 0}, {"concurrency": 0}, {"answer_bytes_max": -1}, {"timeout_s": 0},
        {"path": "batch"},
    ],
    ids=str,
)  # fmt: skip
def test_bad_settings_are_refused_by_name(shop: Shop, setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        batched(shop, **setting)


async def test_an_item_whose_application_stops_itself_leaves_the_others(shop: Shop) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/stopped":
            task = asyncio.ensure_future(asyncio.sleep(9))
            task.cancel()
            await task
        await PlainTextResponse("fine")(scope, receive, send)

    answer = await ask(BatchMiddleware(app), get("/stopped", "/fine", "/stopped", "/fine"))
    assert [each["status"] for each in answer.json()] == [500, 200, 500, 200]


async def test_a_batch_that_is_cancelled_stops_its_items(shop: Shop) -> None:
    asked = asyncio.ensure_future(ask(batched(shop), get("/slow?s=9", "/slow?s=9")))
    for _ in range(100):
        await asyncio.sleep(0)
    assert shop.together == 2
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert (shop.together, shop.finished) == (0, [])


async def test_an_answer_without_bound_fills_no_memory_though_its_application_goes_on(shop: Shop) -> None:
    kept: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            try:
                await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
            except Exception:  # noqa: BLE001 - an application that takes it for a client who left
                continue
        kept.append(len(send.__self__._body))

    answer = await ask(BatchMiddleware(app, answer_bytes_max=2000), get("/"))
    assert (answer.json()[0]["status"], kept) == (502, [2000])


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "Digest"])
async def test_the_batch_does_not_change_the_methods_of_its_items(shop: Shop, header: str) -> None:
    answer = await ask(batched(shop), get("/echo/"), headers={header: "DELETE"})
    assert header.lower() not in answer.json()[0]["body"]["headers"]


async def test_numbers_reach_the_application_as_they_were_written(shop: Shop) -> None:
    async with client(batched(shop)) as http:
        content = b'[{"id": "a", "method": "POST", "path": "/echo/", "body": {"n": 1e999, "price": 1.10}}]'
        answer = await http.post("/batch", content=content, headers={"content-type": "application/json"})
    assert answer.json()[0]["body"]["body"] == '{"n": 1e999, "price": 1.10}'
