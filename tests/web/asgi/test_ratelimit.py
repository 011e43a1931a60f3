from __future__ import annotations

from typing import Any

import http_sf
import pytest

from sdpatterns import Quota, RateLimiter, daily, monthly, per_hour, per_minute
from sdpatterns.core.clock import SYSTEM
from sdpatterns.errors import BackendUnavailable
from sdpatterns.testing.clock import VirtualClock
from sdpatterns.web.asgi.ratelimit import RateLimitMiddleware
from tests.web.asgi.asking import answer, client

pytestmark = pytest.mark.anyio


class App:
    def __init__(self) -> None:
        self.seen = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen += 1
        if scope["type"] == "http":
            await answer(send, headers=[(b"x-own", b"1")])


@pytest.fixture
def clock() -> Any:
    with VirtualClock() as found:
        yield found


def fields(response: Any, name: str) -> list[tuple[str, dict[str, Any]]]:
    """The header as the structured field that it has to be."""
    return list(http_sf.parse(response.headers[name].encode(), tltype="list"))  # type: ignore[arg-type]


async def test_each_answer_says_where_the_client_stands(clock: VirtualClock) -> None:
    app = App()
    limited = RateLimitMiddleware(app, RateLimiter("api", per_minute(3)))
    async with client(limited) as http:
        first = await http.get("/")
        assert (first.status_code, first.headers["x-own"]) == (200, "1")
        assert fields(first, "ratelimit-policy") == [("api", {"q": 3, "w": 60})]
        assert fields(first, "ratelimit") == [("api", {"r": 2, "t": 20})]
        clock.advance(5.0)
        await http.get("/")
        third = await http.get("/")
        assert fields(third, "ratelimit") == [("api", {"r": 0, "t": 55})]
        refused = await http.get("/")
    assert app.seen == 3
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "15")
    assert fields(refused, "ratelimit") == [("api", {"r": 0, "t": 55})]
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json() == {
        "type": "https://www.iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Too Many Requests",
        "status": 429,
        "detail": "Too many requests. Try again later.",
        "violated-policies": ["api"],
    }


async def test_who_waits_as_long_as_he_was_told_is_served(clock: VirtualClock) -> None:
    limited = RateLimitMiddleware(App(), RateLimiter("api", per_minute(7, burst=2)))
    async with client(limited) as http:
        for _ in range(20):
            response = await http.get("/")
            if response.status_code == 429:
                clock.advance(float(response.headers["retry-after"]))
                assert (await http.get("/")).status_code == 200


@pytest.mark.parametrize(
    ("rate", "quota"),
    [
        (per_minute(100), {"q": 100, "w": 60}),
        (per_minute(100, burst=20), {"q": 20, "w": 12}),
        (per_minute(100, burst=300), {"q": 300, "w": 180}),
        (per_hour(3), {"q": 3, "w": 3600}),
    ],
)
async def test_a_quota_never_promises_more_than_the_rate(clock: VirtualClock, rate: Any, quota: dict[str, int]) -> None:
    async with client(RateLimitMiddleware(App(), RateLimiter("api", rate))) as http:
        response = await http.get("/")
    assert fields(response, "ratelimit-policy") == [("api", quota)]
    assert fields(response, "ratelimit")[0][1]["r"] <= quota["q"]
    assert quota["q"] / quota["w"] <= rate.count / rate.period_s + 1e-9


async def test_keys_costs_and_partitions_come_from_the_request(clock: VirtualClock) -> None:
    limited = RateLimitMiddleware(
        App(),
        RateLimiter("api", per_minute(5)),
        key=lambda scope: str(scope["path"]),
        cost=lambda scope: 2 if scope["method"] == "POST" else 1,
        partition=lambda scope: scope["path"].encode(),
    )
    async with client(limited) as http:
        assert fields(await http.post("/a"), "ratelimit") == [("api", {"r": 3, "t": 24, "pk": b"/a"})]
        assert fields(await http.post("/a"), "ratelimit")[0][1]["r"] == 1
        assert (await http.post("/a")).status_code == 429
        assert (await http.get("/a")).status_code == 200
        assert fields(await http.get("/b"), "ratelimit")[0][1]["r"] == 4


async def test_several_rates_are_shown_and_the_binding_one_is_named(clock: VirtualClock) -> None:
    rates = [per_minute(2), per_hour(10)]
    async with client(RateLimitMiddleware(App(), RateLimiter("api", rates), rates=rates)) as http:
        response = await http.get("/")
    assert fields(response, "ratelimit-policy") == [("api-1", {"q": 2, "w": 60}), ("api-2", {"q": 10, "w": 3600})]
    assert fields(response, "ratelimit") == [("api-1", {"r": 1, "t": 30})]


async def test_several_scopes_are_decided_in_one_step(clock: VirtualClock) -> None:
    limiter = RateLimiter("api", {"ip": per_minute(3), "path": per_minute(2)})

    def keys(scope: Any) -> dict[str, str]:
        return {"ip": scope["client"][0], "path": scope["path"]}

    async with client(RateLimitMiddleware(App(), limiter, key=keys)) as http:
        statuses = [(await http.get(path)).status_code for path in ("/a", "/a", "/a", "/b", "/b")]
    assert statuses == [200, 200, 429, 200, 429]


async def test_clients_have_their_own_limits_by_address(clock: VirtualClock) -> None:
    limiter = RateLimiter("api", per_minute(1))
    async with client(RateLimitMiddleware(App(), limiter)) as http:
        assert [(await http.get("/")).status_code for _ in range(2)] == [200, 429]
    assert not (await limiter.peek("203.0.113.7")).allowed
    assert (await limiter.peek("203.0.113.8")).allowed


class Away:
    name = "api"

    async def acquire(self, key: Any, /, cost: int = 1) -> Any:
        raise BackendUnavailable(f"redis://secret is away, {key}, {cost}")


async def test_a_limiter_that_raises_is_a_503() -> None:
    app = App()
    async with client(RateLimitMiddleware(app, Away())) as http:
        response = await http.get("/")
    assert (response.status_code, response.headers["retry-after"], app.seen) == (503, "1", 0)
    assert "secret" not in response.text


async def test_a_websocket_over_the_limit_is_closed_before_it_is_accepted(clock: VirtualClock) -> None:
    app, sent = App(), []
    limited = RateLimitMiddleware(app, RateLimiter("api", per_minute(1)))
    scope = {"type": "websocket", "client": None, "headers": [], "path": "/"}

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    await limited(dict(scope), receive, send)
    await limited(dict(scope), receive, send)
    assert app.seen == 1
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1013)]


async def test_the_lifespan_passes() -> None:
    app = App()
    await RateLimitMiddleware(app, Away())({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert app.seen == 1


async def test_a_name_that_no_header_can_carry_is_refused() -> None:
    with pytest.raises(ValueError, match="name"):
        RateLimitMiddleware(App(), RateLimiter("größe", per_minute(1)))
    assert SYSTEM.now_us() > 0


async def test_a_quota_shows_every_period_of_the_plan(clock: VirtualClock) -> None:
    plans = {"basic": [daily(2), monthly(10)], "pro": monthly(100)}
    quota = Quota("partners", plans, plan={"127.0.0.1": "basic"}, store=None)
    async with client(RateLimitMiddleware(App(), quota, key=lambda scope: "127.0.0.1")) as http:
        first = await http.get("/")
        await http.get("/")
        refused = await http.get("/")
    assert fields(first, "ratelimit-policy") == [
        ("partners-day", {"q": 2, "w": 86_400}), ("partners-month", {"q": 10, "w": 30 * 86_400}),
    ]  # fmt: skip
    # The virtual clock starts at 22:13:20 on the 14th.
    assert fields(first, "ratelimit") == [
        ("partners-day", {"r": 1, "t": 6_400}), ("partners-month", {"r": 9, "t": 16 * 86_400 + 6_400}),
    ]  # fmt: skip
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "6400")
    assert [standing["r"] for _, standing in fields(refused, "ratelimit")] == [0, 8]


async def test_equal_rates_of_two_scopes_are_told_apart(clock: VirtualClock) -> None:
    rates = {"ip": per_minute(3), "user": [per_minute(3), per_hour(50)]}
    users = iter("ababab")

    def key(scope: Any) -> dict[str, str]:
        return {"ip": next(addresses), "user": next(users)}

    addresses = iter("112233")
    async with client(RateLimitMiddleware(App(), RateLimiter("api", rates), key=key, rates=rates)) as http:
        answers = [await http.get("/") for _ in range(6)]
    policies = [name for name, _ in fields(answers[0], "ratelimit-policy")]
    assert policies == ["api-ip", "api-user-1", "api-user-2"]
    bound = [fields(answer, "ratelimit")[0] for answer in answers]
    assert [(name, left["r"]) for name, left in bound][-2:] == [("api-user-1", 0), ("api-user-1", 0)]
    assert bound[1] == ("api-ip", {"r": 1, "t": 40})


async def test_a_rate_that_is_not_among_those_shown_has_the_limiters_name(clock: VirtualClock) -> None:
    shown = RateLimitMiddleware(App(), RateLimiter("api", per_minute(3)), rates=[per_hour(1), per_hour(2)])
    async with client(shown) as http:
        assert fields(await http.get("/"), "ratelimit")[0][0] == "api"


async def test_exempt_requests_and_those_without_a_key_pass_without_a_limit(clock: VirtualClock) -> None:
    app = App()
    limiter = RateLimiter("api", per_minute(1))

    def exempt(scope: Any) -> bool:
        return bool(scope["path"] == "/livez" or scope["method"] == "OPTIONS")

    def key(scope: Any) -> str | None:
        return None if scope["path"] == "/static" else "everybody"

    async with client(RateLimitMiddleware(app, limiter, key=key, exempt=exempt)) as http:
        assert (await http.get("/it")).status_code == 200
        passed = [await http.get("/livez"), await http.options("/it"), await http.get("/static")]
        refused = await http.get("/it")
    assert [(each.status_code, "ratelimit" in each.headers) for each in passed] == [(200, False)] * 3
    assert (refused.status_code, app.seen) == (429, 4)


async def test_key_and_cost_may_be_looked_up(clock: VirtualClock) -> None:
    async def key(scope: Any) -> str | None:
        return {"/ann": "ann", "/bob": "bob"}.get(scope["path"])

    async def cost(scope: Any) -> int:
        return 2

    async with client(RateLimitMiddleware(App(), RateLimiter("api", per_minute(2)), key=key, cost=cost)) as http:
        found = [(await http.get(path)).status_code for path in ("/ann", "/bob", "/none", "/none", "/ann")]
    assert found == [200, 200, 200, 200, 429]


async def test_a_function_that_is_not_awaited_must_be_a_plain_one() -> None:
    async def later(_scope: Any) -> bool:
        return True

    for field in ("exempt", "partition"):
        with pytest.raises(TypeError, match=f"{field} must be a plain function"):
            RateLimitMiddleware(App(), RateLimiter("api", per_minute(1)), **{field: later})  # type: ignore[arg-type]


async def test_a_refused_websocket_is_answered_with_429_where_the_server_can(clock: VirtualClock) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "client": None,
        "headers": [],
        "path": "/",
        "extensions": {"websocket.http.response": {}},
    }
    limited = RateLimitMiddleware(App(), RateLimiter("api", per_minute(1)))
    for _ in range(2):
        await limited(dict(scope), None, send)  # type: ignore[arg-type]
    assert [message["type"] for message in sent] == ["websocket.http.response.start", "websocket.http.response.body"]
    headers = dict(sent[0]["headers"])
    assert (sent[0]["status"], headers[b"retry-after"]) == (429, b"60")
    assert b"ratelimit" in headers
    away: list[Any] = []

    async def send_away(message: Any) -> None:
        away.append(message)

    await RateLimitMiddleware(App(), Away())(dict(scope), None, send_away)  # type: ignore[arg-type]
    assert (away[0]["type"], away[0]["status"]) == ("websocket.http.response.start", 503)
