"""What type checkers must find at the async door. Checked, never run.

Each `assert_type` states a type; each ignore comment stands on a line that must be an error, which
the checkers confirm by complaining when it is not. Strict, so that users who check
their own programs strictly find nothing unknown in ours.
"""

# pyright: strict

from collections.abc import Callable, Coroutine
from typing import Any, assert_type

from sdpatterns import (
    Bulkhead,
    CircuitBreaker,
    DeadlineExceeded,
    Fallback,
    Idempotency,
    Notice,
    Pipeline,
    Quota,
    RateLimiter,
    Retry,
    Timeout,
    Window,
    daily,
    deadline_left_s,
    listen,
    monthly,
    per_minute,
    per_second,
    trace_with,
    with_deadline,
)
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.observability.logs import log_notices
from sdpatterns.observability.opentelemetry import OpenTelemetryTracer
from sdpatterns.observability.resources import Reading, of_backend
from sdpatterns.ports import Backend
from sdpatterns.ports.pressure import Pressure
from sdpatterns.traffic.quota import QuotaDecision
from sdpatterns.traffic.ratelimit import Decision, SlidingCounter

backend = MemoryBackend()
redis = RedisBackend.from_url("redis://localhost:6379")
sql = SQLBackend.from_url("postgresql+asyncpg://localhost/shop")
backends: list[Backend] = [backend, redis, sql]
limiter = RateLimiter("api", per_second(10), store=backend.states)
by_scope = RateLimiter("front", {"user": per_minute(60), "ip": [per_second(9)]}, algorithm=SlidingCounter(), group="f")
quota = Quota("calls", [daily(100), monthly(1_000)], store=sql.states)
breaker = CircuitBreaker("quotes", failure_rate=0.5, window=Window.calls(100))
once = Idempotency("checkout", store=redis.states)
quotes = Pipeline(
    Fallback(0.0, on=DeadlineExceeded, name="last known"),
    Retry(on=(ConnectionError, DeadlineExceeded), idempotent=True),
    breaker,
    Timeout(2.0),
    Bulkhead("slots", concurrent_max=4),
    name="quotes",
)


@quotes.protect
async def fetch(symbol: str, *, depth: int = 1) -> float:
    return float(depth)


@breaker.protect
def plain(symbol: str) -> bytes:
    return symbol.encode()


def key_of(user: int) -> str:
    return f"user:{user}"


@limiter.by(key_of).protect
async def greet(user: int) -> str:
    return f"{user}"


class Client:
    @quotes.protect
    async def get(self, path: str) -> bytes:
        return path.encode()


@Retry(on=ConnectionError)
async def look(symbol: str, *, depth: int = 1) -> float:
    return float(depth)


@breaker
def near(symbol: str) -> bytes:
    return symbol.encode()


@limiter.by(key_of)
async def nod(user: int) -> str:
    return f"{user}"


class Caller:
    @limiter
    async def get(self, path: str) -> bytes:
        return path.encode()


def hear(notice: Notice) -> None:
    assert_type(notice.name, str)
    assert_type(notice.event, str)
    assert_type(notice.labels(), dict[str, str])


async def watched() -> None:
    with listen(hear), listen(log_notices()), trace_with(OpenTelemetryTracer()), with_deadline(1.0) as left_s:
        assert_type(left_s, float)
        assert_type(deadline_left_s(), float | None)
    for each in backends:
        await each.create()
    async with redis, sql:
        assert_type(sql.pressure(), Pressure)
        assert_type(of_backend("orders", redis)(), Reading)
    assert_type(await quota.acquire("tom"), QuotaDecision)
    assert_type(await by_scope.acquire({"user": "tom", "ip": "::1"}), Decision)
    async for attempt in Retry(on=ConnectionError):
        with attempt:
            assert_type(attempt.number, int)
    assert_type(breaker.snapshot().calls, int)
    assert_type(quotes.explain(), str)
    listen(lambda: None)  # type: ignore[arg-type, misc]
    of_backend("orders", backend)  # type: ignore[arg-type]


async def main() -> None:
    assert_type(await look("ACME", depth=2), float)
    await look(1)  # type: ignore[arg-type]
    assert_type(near("x"), bytes)
    assert_type(await nod(5), str)
    assert_type(await Caller().get("/"), bytes)
    quotes(3)  # type: ignore[call-overload]
    assert_type(await fetch("ACME", depth=2), float)
    later: Coroutine[Any, Any, float] = fetch("ACME")
    assert_type(await later, float)
    await fetch(1)  # type: ignore[arg-type]
    await fetch("ACME", width=2)  # type: ignore[call-arg]
    assert_type(plain("x"), bytes)
    plain(1)  # type: ignore[arg-type]
    assert_type(await greet(5), str)
    assert_type(await limiter.acquire("user:1"), Decision)
    assert_type((await limiter.acquire("user:1", cost=2)).retry_after_s, float)
    assert_type(await quotes.call(fetch, "ACME"), float)
    assert_type(await once.call("key", fetch, "ACME"), float)
    async with limiter.guard("user:1"), breaker.guard():
        pass
    check: Callable[[Client, str], Coroutine[Any, Any, bytes]] = Client.get
    assert_type(await check(Client(), "/"), bytes)
