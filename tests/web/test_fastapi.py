"""Limits on FastAPI endpoints, problem details, and a backend as the lifespan of an app."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient

from sdpatterns import CircuitBreaker, RateLimiter, listen, per_minute
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.blocking import blocking
from sdpatterns.core import context
from sdpatterns.errors import BackendUnavailable
from sdpatterns.web.fastapi import answer_problems, by_header, limited, observe_requests


def app_with(*dependencies: Any) -> FastAPI:
    app = FastAPI()

    @app.get("/search", dependencies=list(dependencies))
    def search() -> list[str]:
        return ["chair"]

    return app


def test_an_endpoint_is_limited_by_address_and_says_so() -> None:
    with TestClient(app_with(limited(RateLimiter("search", per_minute(2))))) as http:
        answers = [http.get("/search") for _ in range(3)]
        schema = http.get("/openapi.json").json()
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["RateLimit"].startswith('"search";r=1')
    assert answers[2].headers["RateLimit"].startswith('"search";r=0')
    assert answers[2].headers["Retry-After"] == "30"
    assert answers[2].json() == {"detail": "Too many requests. Try again later."}
    assert "parameters" not in schema["paths"]["/search"]["get"], "a limit is no parameter of the endpoint"


def test_the_key_is_a_header_or_an_async_function_and_none_passes() -> None:
    with TestClient(app_with(limited(RateLimiter("search", per_minute(1)), key=by_header("X-API-Key")))) as http:
        statuses = [http.get("/search", headers={"x-api-key": key}).status_code for key in ("a", "b", "a")]
    assert statuses == [200, 200, 429]

    async def tenant(scope: Any) -> str | None:
        return None if scope["query_string"] else "one"

    with TestClient(app_with(limited(RateLimiter("search", per_minute(1)), key=tenant))) as http:
        assert [http.get("/search").status_code for _ in range(2)] == [200, 429]
        assert [http.get("/search?x").status_code for _ in range(2)] == [200, 200]


def test_a_router_and_its_endpoint_have_each_their_limit() -> None:
    router = APIRouter(dependencies=[limited(RateLimiter("wide", per_minute(9)), cost=4)])

    @router.get("/search", dependencies=[limited(RateLimiter("narrow", per_minute(1)))])
    def search() -> str:
        return "chair"

    app = FastAPI()
    app.include_router(router)
    with TestClient(app) as http:
        first, second = http.get("/search"), http.get("/search")
    assert (first.status_code, second.status_code) == (200, 429)
    assert first.headers["RateLimit"].count("r=") == 2


def test_a_store_that_is_away_and_a_limiter_that_raises_give_a_503() -> None:
    away = RedisBackend.from_url("redis://127.0.0.1:1").states
    limiter = RateLimiter("search", per_minute(1), store=away, on_outage="raise")
    with TestClient(app_with(limited(limiter))) as http:
        answer = http.get("/search")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    with pytest.raises(TypeError, match="give it the object itself"):
        limited(blocking(RateLimiter("search", per_minute(1))))  # type: ignore[arg-type]


def test_problems_are_answered() -> None:
    app, breaker = FastAPI(), CircuitBreaker("psp")
    breaker.open()

    @app.get("/pay")
    @breaker
    async def pay() -> str:
        return "paid"

    answer_problems(app)
    with TestClient(app) as http:
        answer = http.get("/pay")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert answer.headers["Retry-After"]


def test_a_backend_is_the_lifespan_of_an_app(valkey_url: str, tmp_path: Any) -> None:
    for backend in (
        MemoryBackend(),
        RedisBackend.from_url(valkey_url),
        SQLBackend.from_url(f"sqlite+aiosqlite:///{tmp_path}/cells.db"),
    ):
        limiter = RateLimiter("lifespan", per_minute(9), store=backend.states)
        app = FastAPI(lifespan=backend.lifespan)
        app.get("/", dependencies=[limited(limiter)])(lambda: "home")
        for _ in range(2):  # an app may be started again
            with TestClient(app) as http:
                assert http.get("/").status_code == 200


def test_an_app_whose_store_does_not_answer_does_not_start() -> None:
    app = FastAPI(lifespan=RedisBackend.from_url("redis://127.0.0.1:1").lifespan)
    with pytest.raises(BackendUnavailable, match=r"127\.0\.0\.1:1"), TestClient(app):
        pass


def test_each_request_is_observed_inside_its_trace() -> None:
    app, seen = FastAPI(), list[Any]()

    @app.get("/items/{sku}")
    def item(sku: str) -> str:
        if sku == "none":
            raise ValueError(sku)
        return sku

    def note(notice: Any) -> None:
        trace = context.trace.get()
        seen.append((notice.name, notice.route, notice.status, trace and trace.trace_id))

    observe_requests(app, name="shop")
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    with listen(note), TestClient(app, raise_server_exceptions=False) as http:
        for sku in ("chair", "none"):
            http.get(f"/items/{sku}", headers={"traceparent": parent})
    assert seen == [("shop", "/items/{sku}", status, "a" * 32) for status in (200, 500)]
