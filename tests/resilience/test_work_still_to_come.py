"""A plain function that hands back work that is still to come is refused: its part would count it as done."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from sdpatterns import Bulkhead, CircuitBreaker, Fallback, RateLimiter, per_minute
from sdpatterns.blocking import blocking


async def work() -> int:
    return 7


@contextlib.contextmanager
def opened() -> Iterator[int]:
    yield 1


@contextlib.asynccontextmanager
async def opened_async() -> AsyncIterator[int]:
    yield 1


def items() -> Iterator[int]:
    yield 1


async def items_async() -> AsyncIterator[int]:
    yield 1


class Promise:
    def __await__(self) -> Generator[Any, Any, int]:
        yield from ()
        return 7


def work_later() -> Awaitable[int]:
    return work()


def items_later() -> Iterator[int]:
    return items()


def items_async_later() -> AsyncIterator[int]:
    return items_async()


LATER: dict[Callable[[], Any], str] = {
    work_later: "gives a coroutine, work, whose work comes after the call: make it async",
    lambda: (
        asyncio.get_running_loop().create_future()
    ): "gives a Future, whose work comes after the call: make it async",
    Promise: "gives a Promise, whose work comes after the call: make it async",
    items_later: "gives a generator, items, whose work comes after the call: protect the call that makes each item",
    lambda: (n for n in (1, 2)): "whose work comes after the call: protect the call that makes each item",
    items_async_later: "gives a async_generator",
    opened: "opened is a plain def that gives a GeneratorContextManager",
    opened_async: "gives a AsyncGeneratorContextManager",
    Future: "gives a Future, whose work comes after the call: protect the function that the executor runs",
}


def parts() -> list[Any]:
    return [
        CircuitBreaker("b"),
        Bulkhead("b", concurrent_max=1),
        RateLimiter("a", per_minute(100)),
        Fallback(0, on=OSError),
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_work_that_is_still_to_come_is_refused_at_the_first_call(anyio_backend: str) -> None:
    for part in parts():
        for function, said in LATER.items():
            with pytest.raises(TypeError) as raised:
                part(function)()
            assert said in str(raised.value)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_is_refused_and_goes_on(anyio_backend: str) -> None:
    tasks = []

    @Bulkhead("one", concurrent_max=1)
    def start() -> Any:
        tasks.append(asyncio.create_task(work()))
        return tasks[-1]

    for _ in range(3):
        with pytest.raises(TypeError, match="gives a Task, whose work comes after the call: make it async"):
            start()
    assert await asyncio.gather(*tasks) == [7, 7, 7]


def test_it_is_refused_behind_the_blocking_door_too() -> None:
    for part in parts():
        for function in (opened, items_later, Promise, Future):
            with pytest.raises(TypeError, match="whose work comes after the call"):
                blocking(part)(function)()
            with pytest.raises(TypeError, match="whose work comes after the call"):
                blocking(part).call(function)


def test_what_has_done_its_work_passes_also_where_it_can_be_entered_or_iterated(tmp_path: Any) -> None:
    done: list[Callable[[], Any]] = [
        lambda: open(tmp_path / "file", "w"),  # noqa: SIM115, PTH123 - given to the caller
        lambda: [1, 2],
        lambda: iter([1]),
        object,
        type("Fresh", (), {}),
        lambda: work,
    ]
    for part in parts():
        for function in done * 2:
            result = part(function)()
            assert result is not None
            if hasattr(result, "close"):
                result.close()


def test_kinds_of_results_are_remembered_in_a_bounded_number() -> None:
    from sdpatterns.core import policy

    breaker = CircuitBreaker("b")
    for number in range(policy._DONE_MAX + 10):
        breaker(lambda number=number: type(f"Kind{number}", (), {})())()
    assert len(policy._DONE) == policy._DONE_MAX


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_alternative_that_gives_something_to_await_is_awaited(anyio_backend: str) -> None:
    async def fail() -> int:
        raise OSError

    alternatives: list[Awaitable[int] | Any] = [Promise, lambda: asyncio.create_task(work()), work_later]
    for alternative in alternatives:
        assert await Fallback(alternative, on=OSError).call(fail) == 7
    with pytest.raises(TypeError, match="whose work comes after the call"):
        await Fallback(items_later, on=OSError).call(fail)
