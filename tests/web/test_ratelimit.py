"""The RateLimit fields for code that asks a limiter without the middleware."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import http_sf
import pytest

from sdpatterns import Quota, RateLimiter, daily, monthly, per_hour, per_minute
from sdpatterns.testing.clock import VirtualClock
from sdpatterns.web.ratelimit import RateLimitFields

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def clock() -> Iterator[VirtualClock]:
    with VirtualClock() as found:
        yield found


def parsed(headers: dict[str, str]) -> dict[str, list[Any]]:
    return {name: list(http_sf.parse(value.encode(), tltype="list")) for name, value in headers.items()}  # type: ignore[arg-type]


async def test_a_decision_is_two_headers() -> None:
    limiter, shown = RateLimiter("api", per_minute(3, burst=2)), RateLimitFields("api")
    headers = shown.of(await limiter.acquire("user:42"))
    assert headers == {"RateLimit-Policy": '"api";q=2;w=40', "RateLimit": '"api";r=1;t=20'}


async def test_a_refusal_says_the_same_of_itself() -> None:
    limiter, shown = RateLimiter("api", per_minute(1)), RateLimitFields("api")
    await limiter.acquire("user:42")
    refused = await limiter.acquire("user:42")
    assert shown.of(refused)["RateLimit"] == '"api";r=0;t=60'


async def test_a_quotas_decision_shows_every_period() -> None:
    decision = await Quota("partners", [daily(2), monthly(10)]).acquire("p:7")
    assert parsed(RateLimitFields("partners").of(decision)) == {
        "RateLimit-Policy": [
            ("partners-day", {"q": 2, "w": 86_400}), ("partners-month", {"q": 10, "w": 30 * 86_400}),
        ],
        "RateLimit": [
            ("partners-day", {"r": 1, "t": 6_400}), ("partners-month", {"r": 9, "t": 16 * 86_400 + 6_400}),
        ],
    }  # fmt: skip


async def test_the_rates_of_scopes_are_named_after_them_and_the_key_may_be_told() -> None:
    rates = {"user": [per_minute(2), per_hour(5)], "ip": per_minute(9)}
    decision = await RateLimiter("api", rates).acquire({"user": "ann", "ip": "192.0.2.7"})
    told = parsed(RateLimitFields("api", rates).of(decision, partition=b"ann"))
    assert [name for name, _ in told["RateLimit-Policy"]] == ["api-user-1", "api-user-2", "api-ip"]
    assert told["RateLimit"] == [("api-user-1", {"r": 1, "t": 30, "pk": b"ann"})]


def test_a_name_that_no_header_can_carry_is_refused() -> None:
    with pytest.raises(ValueError, match="name must be of ASCII characters"):
        RateLimitFields("größe")
