"""A future whose task goes on in the callback that brings the result."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest
import uvloop

from sdpatterns.core.runtime.inline_future import InlineFuture

VALUE: contextvars.ContextVar[str] = contextvars.ContextVar("value", default="")


async def waiting(future: InlineFuture[int], steps: list[str]) -> int:
    VALUE.set("of the task")
    try:
        result = await future
    except asyncio.CancelledError:
        steps.append("cancelled")
        raise
    steps.append(f"woken, {VALUE.get()}")
    await asyncio.sleep(0)
    steps.append("a turn later")
    return result


@pytest.mark.anyio
async def test_the_task_goes_on_in_the_callback_and_in_its_own_context() -> None:
    loop, steps = asyncio.get_running_loop(), list[str]()
    future: InlineFuture[int] = InlineFuture(loop=loop)
    task = asyncio.create_task(waiting(future, steps))
    await asyncio.sleep(0)

    def bring() -> None:
        assert asyncio.current_task() is None
        future.finish(7)
        steps.append("the callback ends")

    loop.call_soon(bring)
    assert await task == 7
    assert steps == ["woken, of the task", "the callback ends", "a turn later"]
    assert VALUE.get() == ""


@pytest.mark.anyio
async def test_within_a_task_it_goes_on_in_the_next_turn() -> None:
    steps = list[str]()
    future: InlineFuture[int] = InlineFuture(loop=asyncio.get_running_loop())
    task = asyncio.create_task(waiting(future, steps))
    await asyncio.sleep(0)
    future.finish(7)
    assert steps == []
    await asyncio.sleep(0)
    assert steps == ["woken, of the task"]
    assert await task == 7


@pytest.mark.anyio
async def test_a_result_before_the_await_and_a_second_result() -> None:
    future: InlineFuture[int] = InlineFuture(loop=asyncio.get_running_loop())
    future.finish(7)
    future.finish(8)
    assert await future == 7


@pytest.mark.anyio
async def test_a_cancelled_task_ends_and_a_late_result_is_dropped() -> None:
    loop, steps = asyncio.get_running_loop(), list[str]()
    future: InlineFuture[int] = InlineFuture(loop=loop)
    task = asyncio.create_task(waiting(future, steps))
    await asyncio.sleep(0)
    task.cancel()
    assert future.cancelled()
    assert not future.cancel()
    loop.call_soon(future.finish, 7)
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert steps == ["cancelled"]


@pytest.mark.anyio
async def test_a_timeout_ends_the_wait() -> None:
    future: InlineFuture[int] = InlineFuture(loop=asyncio.get_running_loop())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await future
    assert future.cancelled()


@pytest.mark.anyio
async def test_an_error_of_the_task_stays_in_the_task() -> None:
    loop = asyncio.get_running_loop()
    future: InlineFuture[int] = InlineFuture(loop=loop)
    ended = asyncio.Event()

    async def fails() -> None:
        await future
        raise ZeroDivisionError

    def bring() -> None:
        future.finish(7)
        ended.set()

    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
    loop.call_soon(bring)
    await ended.wait()
    with pytest.raises(ZeroDivisionError):
        await task


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


@pytest.mark.parametrize("uv", [False, True], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_an_interruption_in_the_task_ends_the_loop(error: type[BaseException], uv: bool) -> None:
    # On a connection, because uvloop keeps what its protocols raise to itself.
    async def main() -> None:
        loop = asyncio.get_running_loop()
        future: InlineFuture[bytes] = InlineFuture(loop=loop)

        class Waits(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                future.finish(data)

        server = await loop.create_server(Echo, "127.0.0.1", 0)
        transport, _ = await loop.create_connection(Waits, "127.0.0.1", server.sockets[0].getsockname()[1])
        loop.call_later(5, future.cancel)
        transport.write(b"x")
        try:
            assert await future == b"x"
        finally:
            transport.close()
            server.close()
        raise error

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uv else None) as runner, pytest.raises(error):
        runner.run(main())
