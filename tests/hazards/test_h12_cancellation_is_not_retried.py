"""Hazard 12: a retry that swallows the cancellation of its caller. Never here, whatever it is told to repeat."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from sdpatterns import Retry
from tests.loops import each_virtual_loop

pytestmark = pytest.mark.anyio
anyio_backend = each_virtual_loop


EVERYTHING = [
    Retry(on=Exception, attempts_max=100, base_s=0.0),
    Retry(on=lambda error: True, attempts_max=100, base_s=0.0),
    Retry(on=Exception, on_result=lambda result: True, attempts_max=100, base_s=0.0),
    Retry(on=Exception, attempts_max=100, base_s=0.0, timeout_s=3600.0),
]


@pytest.mark.parametrize("retry", EVERYTHING, ids=["types", "predicate", "result", "bounded"])
async def test_a_cancelled_call_is_not_repeated(retry: Retry) -> None:
    begun = 0

    async def call() -> None:
        nonlocal begun
        begun += 1
        await anyio.sleep(60)

    with anyio.move_on_after(1.0) as scope:
        await retry.call(call)
    assert (scope.cancelled_caught, begun) == (True, 1)


async def test_a_cancelled_block_is_not_repeated() -> None:
    begun = 0
    with anyio.move_on_after(1.0) as scope:
        async for attempt in EVERYTHING[0]:
            with attempt:
                begun += 1
                await anyio.sleep(60)
    assert (scope.cancelled_caught, begun) == (True, 1)


async def test_a_call_cancelled_in_a_later_attempt_is_not_repeated() -> None:
    begun = 0

    async def call() -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise ConnectionError
        await anyio.sleep(60)

    with anyio.move_on_after(1.0) as scope:
        await EVERYTHING[0].call(call)
    assert (scope.cancelled_caught, begun) == (True, 3)


@pytest.mark.parametrize("fails_first", [0, 2])
@pytest.mark.parametrize("retry", EVERYTHING, ids=["types", "predicate", "result", "bounded"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_is_no_exception_passes_at_once(kind: type[BaseException], retry: Retry, fails_first: int) -> None:
    begun = 0

    async def call() -> None:
        nonlocal begun
        begun += 1
        raise ConnectionError if begun <= fails_first else kind

    with pytest.raises(kind):
        await retry.call(call)
    assert begun == fails_first + 1

    async def block() -> None:
        async for attempt in retry:
            with attempt:
                await call()

    begun = 0
    with pytest.raises(kind):
        await block()
    assert begun == fails_first + 1


@pytest.mark.parametrize("kind", [BaseException, asyncio.CancelledError, KeyboardInterrupt])
def test_it_cannot_even_be_asked_to(kind: type[BaseException]) -> None:
    with pytest.raises(ValueError, match="subclasses of Exception"):
        Retry(on=(OSError, kind))  # type: ignore[arg-type]
