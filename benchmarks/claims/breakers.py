"""What circuit breakers do in the moments that matter."""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, NamedTuple

import aiobreaker
import circuitbreaker
import hyx.circuitbreaker
import interlock
import purgatory
import pybreaker
import pyresilience

from sdpatterns import CircuitBreaker
from sdpatterns.blocking import blocking

OPEN_S = 0.2
Call = Callable[[], Awaitable[Any]]
Protect = Callable[[Call], Call]


class CallFailed(Exception):
    """What the callee raises."""


def of_sdpatterns(failures: int) -> Protect:
    return CircuitBreaker("claims", consecutive=failures, open_s=OPEN_S, open_jitter=0).protect


def of_circuitbreaker(failures: int) -> Protect:
    return circuitbreaker.circuit(failure_threshold=failures, recovery_timeout=OPEN_S)  # type: ignore[no-any-return]


def of_aiobreaker(failures: int) -> Protect:
    return aiobreaker.CircuitBreaker(fail_max=failures, timeout_duration=timedelta(seconds=OPEN_S))


def of_purgatory(failures: int) -> Protect:
    factory = purgatory.AsyncCircuitBreakerFactory(default_threshold=failures, default_ttl=OPEN_S)
    return factory("claims")  # type: ignore[no-any-return]


def of_hyx(failures: int) -> Protect:
    return hyx.circuitbreaker.consecutive_breaker(failure_threshold=failures, recovery_time_secs=OPEN_S)


def of_pyresilience(failures: int) -> Protect:
    settings = pyresilience.CircuitBreakerConfig(failure_threshold=failures, recovery_timeout=OPEN_S)
    return pyresilience.resilient(circuit_breaker=settings)  # type: ignore[no-any-return]


def of_interlock(failures: int) -> Protect:
    settings = interlock.config.Config(
        minimum_number_of_calls=failures, window_size=failures, wait_duration_in_open=OPEN_S
    )
    return interlock.CircuitBreaker(name="claims", config=settings)


MAKERS: dict[str, Callable[[int], Protect]] = {
    "sdpatterns": of_sdpatterns,
    "circuitbreaker": of_circuitbreaker,
    "aiobreaker": of_aiobreaker,
    "purgatory": of_purgatory,
    "hyx": of_hyx,
    "pyresilience": of_pyresilience,
    "interlock-cb": of_interlock,
}


async def outcomes(protected: Call, times: int) -> list[BaseException | None]:
    """What each of several calls, one after another, ends with."""
    found: list[BaseException | None] = []
    for _ in range(times):
        try:
            await protected()
            found.append(None)
        except Exception as error:  # noqa: BLE001 - each library has its own
            found.append(error)
    return found


class Callee:
    """Counts the calls that reach it, and fails as long as `fails` is set."""

    def __init__(self) -> None:
        self.reached = 0
        self.fails = True
        self.takes_s = 0.0

    async def __call__(self) -> str:
        self.reached += 1
        fails = self.fails
        await asyncio.sleep(self.takes_s)
        if fails:
            raise CallFailed
        return "fine"


def wrapped(make: Callable[[int], Protect], failures: int, callee: Callee) -> Call:
    async def call() -> str:
        return await callee()

    return make(failures)(call)


async def probes(make: Callable[[int], Protect]) -> str:
    callee = Callee()
    call = wrapped(make, 3, callee)
    await outcomes(call, 5)
    await asyncio.sleep(OPEN_S * 1.5)
    callee.reached, callee.takes_s = 0, 0.05
    await asyncio.gather(*(call() for _ in range(50)), return_exceptions=True)
    return f"{callee.reached} of 50"


async def late_success(make: Callable[[int], Protect]) -> str:
    callee = Callee()
    call = wrapped(make, 3, callee)
    callee.fails, callee.takes_s = False, 0.05
    slow = asyncio.ensure_future(call())
    await asyncio.sleep(0.01)
    callee.fails, callee.takes_s = True, 0.0
    await outcomes(call, 5)
    await slow
    before = callee.reached
    await outcomes(call, 1)
    return "closed" if callee.reached > before else "still open"


async def cancellations(make: Callable[[int], Protect]) -> str:
    callee = Callee()
    call = wrapped(make, 3, callee)
    callee.fails, callee.takes_s = False, 10.0
    for _ in range(10):
        task = asyncio.ensure_future(call())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    callee.takes_s = 0.0
    (outcome,) = await outcomes(call, 1)
    return "closed" if outcome is None else "open"


async def frames(make: Callable[[int], Protect]) -> str:
    callee = Callee()
    call = wrapped(make, 3, callee)
    found = await outcomes(call, 200)
    last = found[-1]
    if last is None or isinstance(last, CallFailed):
        return "never refused"
    return str(len(traceback.extract_tb(last.__traceback__)))


class Plain(NamedTuple):
    """How a library protects a plain function."""

    protect: Callable[[Callable[[], Any]], Callable[[], Any]]


PLAIN: dict[str, Callable[[], Plain]] = {
    "sdpatterns": lambda: Plain(blocking(CircuitBreaker("claims", consecutive=3)).protect),
    "circuitbreaker": lambda: Plain(circuitbreaker.circuit(failure_threshold=3)),
    "pybreaker": lambda: Plain(pybreaker.CircuitBreaker(fail_max=3)),
}


def side_by_side(make: Callable[[], Plain]) -> str:
    """Whether two threads are inside the protected function at the same time."""
    meeting = threading.Barrier(2)

    def call() -> None:
        meeting.wait(timeout=0.5)

    protected = make().protect(call)
    met: list[bool] = []

    def run() -> None:
        try:
            protected()
            met.append(True)
        except threading.BrokenBarrierError:
            met.append(False)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return "both at once" if all(met) else "one at a time"
