"""Breaker, retry, timeout, bulkhead and four strategies composed, beside their peers, in the same run.

    python benchmarks/resilience.py [--rounds 21]

A case awaits a protected function that does nothing, one call after another: what is measured is
the price of protection when all is well, in CPU time, because others use the machine too. Locks,
windows, slow calls and generations are in ours. `dirty` windows hold failures, so that nothing can
be left out for a fine call.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import aiobreaker
import backoff
import circuitbreaker
import hyx.bulkhead
import hyx.circuitbreaker
import hyx.retry
import hyx.timeout
import interlock
import purgatory
import pybreaker
import pyresilience
import stamina
import tenacity
from harness import Rounds, interleaved, report

from sdpatterns import Bulkhead, CircuitBreaker, Pipeline, Retry, Timeout, Window

EACH = 5_000
Call = Callable[[], Awaitable[Any]]


async def nothing() -> None:
    return None


def measure(loop: asyncio.Runner, cases: dict[str, Call], rounds: int) -> Rounds:
    async def run(call: Call) -> float:
        begun = time.process_time()
        for _ in range(EACH):
            await call()
        return (time.process_time() - begun) / EACH

    def case(call: Call) -> Callable[[], float]:
        return lambda: loop.run(run(call))

    return interleaved({name: case(call) for name, call in cases.items()}, rounds)


def ours(window: Window, **settings: Any) -> CircuitBreaker:
    return CircuitBreaker("quotes", failure_rate=0.5, slow_call_s=1.0, slow_call_rate=0.5, window=window, **settings)


async def dirty(window: Window) -> Call:
    """A breaker in which one call in ten has failed, with a window that keeps all calls."""
    breaker = ours(window)

    async def fail() -> None:
        raise ConnectionError

    for number in range(100):
        try:
            await breaker.call(fail if number % 10 == 0 else nothing)
        except ConnectionError:
            continue
    return breaker.protect(nothing)


async def breakers() -> dict[str, Call]:
    sync = pybreaker.CircuitBreaker()(lambda: None)

    async def pybreaker_sync() -> None:
        sync()

    def of_pyresilience(**settings: Any) -> Call:
        config = pyresilience.CircuitBreakerConfig(**settings)
        return pyresilience.resilient(circuit_breaker=config)(nothing)  # type: ignore[no-any-return]

    return {
        "nothing": nothing,
        "sdpatterns": ours(Window.calls(100)).protect(nothing),
        "sdpatterns, dirty window of calls": await dirty(Window.calls(1_000_000)),
        "sdpatterns, window of seconds": ours(Window.seconds(60)).protect(nothing),
        "sdpatterns, dirty window of seconds": await dirty(Window.seconds(3_600)),
        "sdpatterns, in a row": CircuitBreaker("quotes", consecutive=5).protect(nothing),
        "sdpatterns, keyed": ours(Window.calls(100)).by("eu-1").protect(nothing),
        "circuitbreaker": circuitbreaker.circuit(failure_threshold=5)(nothing),
        "hyx": hyx.circuitbreaker.consecutive_breaker(failure_threshold=5)(nothing),
        "aiobreaker": aiobreaker.CircuitBreaker(fail_max=5, timeout_duration=timedelta(seconds=30))(nothing),
        "purgatory": purgatory.AsyncCircuitBreakerFactory()("quotes")(nothing),
        "pybreaker, sync": pybreaker_sync,
        "pyresilience, count": of_pyresilience(failure_threshold=5),
        "pyresilience, window": of_pyresilience(sliding_window_size=100, minimum_calls=10, slow_call_duration=1.0),
        "interlock": interlock.CircuitBreaker(name="quotes")(nothing),
    }


def retries() -> dict[str, Call]:
    return {
        "nothing": nothing,
        "sdpatterns": Retry(on=ConnectionError).protect(nothing),
        "sdpatterns, with a deadline": Retry(on=ConnectionError, timeout_s=5.0).protect(nothing),
        "hyx": hyx.retry.retry(on=ConnectionError, attempts=3)(nothing),
        "pyresilience": pyresilience.resilient(retry=pyresilience.RetryConfig(max_attempts=3))(nothing),
        "backoff": backoff.on_exception(backoff.expo, ConnectionError, max_tries=3)(nothing),
        "stamina": stamina.retry(on=ConnectionError, attempts=3)(nothing),
        "tenacity": tenacity.retry(
            retry=tenacity.retry_if_exception_type(ConnectionError), stop=tenacity.stop_after_attempt(3)
        )(nothing),
    }


async def alone() -> tuple[dict[str, Call], dict[str, Call]]:
    """A timeout and a bulkhead, each beside the one of asyncio."""
    slots = asyncio.Semaphore(10)

    async def in_time() -> None:
        async with asyncio.timeout(2.0):
            await nothing()

    async def in_a_slot() -> None:
        async with slots:
            await nothing()

    return (
        {"nothing": nothing, "sdpatterns": Timeout(2.0).protect(nothing), "asyncio.timeout": in_time},
        {
            "nothing": nothing,
            "sdpatterns": Bulkhead("quotes", concurrent_max=10).protect(nothing),
            "asyncio.Semaphore": in_a_slot,
        },
    )


async def composed() -> dict[str, Call]:
    pipeline = Pipeline(
        Retry(on=ConnectionError, idempotent=True),
        Timeout(2.0),
        ours(Window.calls(100)),
        Bulkhead("quotes", concurrent_max=10),
        name="quotes",
    )
    by_hyx: Call = hyx.bulkhead.bulkhead(max_concurrency=10, max_capacity=20)(nothing)
    by_hyx = hyx.circuitbreaker.consecutive_breaker(failure_threshold=5)(by_hyx)
    by_hyx = hyx.timeout.timeout(2.0)(by_hyx)
    by_hyx = hyx.retry.retry(on=ConnectionError, attempts=3)(by_hyx)
    of_interlock = (
        interlock.Pipeline.builder()
        .retry(attempts=3)
        .timeout(2.0)
        .circuit_breaker(interlock.CircuitBreaker(name="quotes"))
        .bulkhead(10)
        .build()
    )
    return {
        "nothing": nothing,
        "sdpatterns": pipeline.protect(nothing),
        "pyresilience": pyresilience.resilient(
            retry=pyresilience.RetryConfig(max_attempts=3),
            timeout=pyresilience.TimeoutConfig(seconds=2.0),
            circuit_breaker=pyresilience.CircuitBreakerConfig(failure_threshold=5),
            bulkhead=pyresilience.BulkheadConfig(max_concurrent=10),
        )(nothing),
        "hyx": by_hyx,
        "interlock": lambda: of_interlock.call(nothing),
    }


BREAKERS = ("circuitbreaker", "hyx", "aiobreaker", "purgatory", "pybreaker", "pyresilience", "interlock-cb")
RETRIES = ("hyx", "pyresilience", "backoff", "stamina", "tenacity")
COMPOSED = ("pyresilience", "hyx", "interlock-cb")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=21)
    rounds = options.parse_args().rounds
    with asyncio.Runner() as loop:
        found = measure(loop, loop.run(breakers()), rounds)
        report("resilience_breaker", found, "circuitbreaker", BREAKERS, target="at most 0.6x circuitbreaker")
        report("resilience_retry", measure(loop, retries(), rounds), "hyx", RETRIES, target="at most 0.4x hyx")
        timeouts, bulkheads = loop.run(alone())
        report("resilience_timeout", measure(loop, timeouts, rounds), "asyncio.timeout", ())
        report("resilience_bulkhead", measure(loop, bulkheads, rounds), "asyncio.Semaphore", ())
        found = measure(loop, loop.run(composed()), rounds)
        report("resilience_composed", found, "pyresilience", COMPOSED, target="at most 0.25x pyresilience")


if __name__ == "__main__":
    main()
