"""What type checkers must find at the async door. Checked, never run.

Each `assert_type` states a type; each ignore comment stands on a line that must be an error, which
the checkers confirm by complaining when it is not.
"""

from collections.abc import Callable, Coroutine
from typing import Any, assert_type

from sdpatterns import (
    Bulkhead,
    CircuitBreaker,
    Idempotency,
    Pipeline,
    RateLimiter,
    Retry,
    Timeout,
    per_second,
)
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.traffic.ratelimit import Decision

backend = MemoryBackend()
limiter = RateLimiter("api", per_second(10), store=backend.states)
breaker = CircuitBreaker("quotes", failure_rate=0.5)
once = Idempotency("checkout", store=backend.states)
quotes = Pipeline(Retry(), breaker, Timeout(2.0), Bulkhead("slots", concurrent_max=4), name="quotes")


@quotes.protect
async def fetch(symbol: str, *, depth: int = 1) -> float:
    return float(depth)


@breaker.protect
def plain(symbol: str) -> bytes:
    return symbol.encode()


@limiter.by(lambda user: f"user:{user}").protect
async def greet(user: int) -> str:
    return f"{user}"


class Client:
    @quotes.protect
    async def get(self, path: str) -> bytes:
        return path.encode()


async def main() -> None:
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
