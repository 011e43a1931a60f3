"""Limits on Flask views, and problem details for the exceptions of the patterns."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from flask import Blueprint, Flask, jsonify

from sdpatterns import CircuitBreaker, RateLimiter, per_minute
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.blocking import blocking
from sdpatterns.errors import UnknownVersion
from sdpatterns.web.flask import answer_problems, by_header, limited


def app_with(*decorators: Any) -> Flask:
    app = Flask("shop")

    def search(word: str = "") -> Any:
        return jsonify([word]), 201

    for decorate in reversed(decorators):
        search = decorate(search)
    app.get("/search/<word>")(search)
    return app


def test_a_view_is_limited_by_address_and_says_so() -> None:
    http = app_with(limited(RateLimiter("search", per_minute(2)))).test_client()
    answers = [http.get("/search/a") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert answers[0].get_json() == ["a"]
    assert answers[0].headers["RateLimit"].startswith('"search";r=1')
    assert answers[2].content_type == "application/problem+json"
    assert answers[2].headers["Retry-After"] == "30"
    assert answers[2].get_json()["violated-policies"] == ["search"]
    assert http.get("/search/a", environ_base={"REMOTE_ADDR": "203.0.113.9"}).status_code == 201


def test_the_key_is_a_header_or_a_function_and_none_passes() -> None:
    one = app_with(limited(RateLimiter("search", per_minute(1)), key=by_header("X-API-Key"))).test_client()
    statuses = [one.get("/search/a", headers={"x-api-key": key}).status_code for key in ("a", "b", "a")]
    assert statuses == [201, 201, 429]
    assert by_header("X-API-Key")({"HTTP_X_API_KEY": "a"}) == "a", "the WSGI middleware gives the environ"
    free = app_with(limited(RateLimiter("search", per_minute(1)), key=lambda: None)).test_client()
    assert [free.get("/search/a").status_code for _ in range(3)] == [201] * 3


def test_two_limits_on_a_view_both_count_and_both_show() -> None:
    wide, narrow = RateLimiter("wide", per_minute(9)), RateLimiter("narrow", per_minute(9))
    http = app_with(limited(wide, cost=4), limited(narrow, cost=lambda: 3)).test_client()
    answer = http.get("/search/a")
    assert sorted(line.split(";")[:2] for line in answer.headers.getlist("RateLimit")) == [
        ['"narrow"', "r=6"],
        ['"wide"', "r=5"],
    ]


def test_an_async_view_is_limited_too() -> None:
    app = Flask("shop")

    @app.get("/")
    @limited(RateLimiter("home", per_minute(1)))
    async def home() -> str:
        await asyncio.sleep(0)
        return "home"

    app.ensure_sync = lambda view: (  # type: ignore[method-assign,assignment]
        (lambda **given: asyncio.run(view(**given))) if asyncio.iscoroutinefunction(view) else view
    )
    http = app.test_client()
    assert [http.get("/").status_code for _ in range(2)] == [200, 429]


def test_processes_that_share_a_store_count_together(valkey_url: str) -> None:
    statuses = []
    for _ in range(2):
        redis = RedisBackend.from_url(valkey_url, blocking=True)
        with redis:
            http = app_with(limited(RateLimiter("flask-shared", per_minute(3)))).test_client()
            shared = app_with(
                limited(RateLimiter("flask-shared", per_minute(3), store=redis.states), key=lambda: "one")
            ).test_client()
            assert http.get("/search/a").status_code == 201
            statuses += [shared.get("/search/a").status_code for _ in range(2)]
    assert statuses == [201, 201, 201, 429]


def test_a_store_that_is_away_and_a_limiter_that_raises_give_a_503() -> None:
    redis = RedisBackend.from_url("redis://127.0.0.1:1", blocking=True)
    limiter = RateLimiter("search", per_minute(1), store=redis.states, on_outage="raise")
    answer = app_with(limited(limiter)).test_client().get("/search/a")
    assert (answer.status_code, answer.content_type) == (503, "application/problem+json")
    assert "127.0.0.1" not in answer.get_data(as_text=True)


def test_what_cannot_work_is_refused_when_it_is_built() -> None:
    limiter = RateLimiter("search", per_minute(1))

    async def key() -> str:
        return "a"

    with pytest.raises(TypeError, match="key must be a plain function"):
        limited(limiter, key=key)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="give it the object itself"):
        limited(blocking(limiter))  # type: ignore[arg-type]
    with_loop = RateLimiter("x", per_minute(1), store=RedisBackend.from_url("redis://127.0.0.1:1").states)
    with pytest.raises(TypeError, match="build it with blocking=True"):
        limited(with_loop)
    with pytest.raises(ValueError, match="a header is named like"):
        by_header("x api key")


def test_problems_are_answered_on_an_app_and_on_a_blueprint() -> None:
    app, part = Flask("shop"), Blueprint("part", "part")
    breaker, limiter = CircuitBreaker("psp"), RateLimiter("search", per_minute(1))
    breaker.open()

    @app.get("/pay")
    @breaker
    def pay() -> str:
        return "paid"

    @app.get("/odd")
    def odd() -> str:
        raise UnknownVersion("a state of the future")

    @part.get("/part")
    @limiter
    def within() -> str:
        return "part"

    answer_problems(app)
    answer_problems(part)
    app.register_blueprint(part)
    http = app.test_client()
    paid, odd_one = http.get("/pay"), http.get("/odd")
    assert (paid.status_code, paid.content_type) == (503, "application/problem+json")
    assert paid.headers["Retry-After"]
    assert odd_one.status_code in {500, 503}
    assert [http.get("/part").status_code for _ in range(2)] == [200, 429]
