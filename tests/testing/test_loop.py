from __future__ import annotations

import asyncio
import math
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.runtime import current
from sdpatterns.testing.clock import VirtualClock
from sdpatterns.testing.loop import Deadlock, VirtualLoop
from tests.loops import on_virtual_asyncio


def run(main: Callable[[], Any], *, seed: int | None = None) -> Any:
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed=seed)) as runner:
        return runner.run(main())


def test_a_day_passes_at_once() -> None:
    async def main() -> tuple[int, float]:
        loop = asyncio.get_running_loop()
        before, wall = SYSTEM.now_us(), loop.time()
        await asyncio.sleep(86_400.0)
        return SYSTEM.now_us() - before, loop.time() - wall

    started = time.monotonic()
    assert run(main) == (86_400_000_000, 86_400.0)
    assert time.monotonic() - started < 600


def test_timers_strike_in_their_order_and_at_their_time() -> None:
    struck: list[tuple[str, int]] = []

    async def sleeper(name: str, seconds: float, begun: int) -> None:
        await current().sleep(seconds)
        struck.append((name, SYSTEM.now_us() - begun))

    async def main() -> None:
        begun = SYSTEM.now_us()
        await asyncio.gather(sleeper("c", 3.0, begun), sleeper("a", 0.000001, begun), sleeper("b", 0.1, begun))

    run(main)
    assert struck == [("a", 1), ("b", 100_000), ("c", 3_000_000)]


def test_a_task_that_slept_until_an_instant_is_never_before_it() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for step in range(1, 500):
            seconds = step / 7.3
            until = SYSTEM.now_us() + int(seconds * 1e6)
            at = loop.time() + seconds
            await asyncio.sleep(seconds)
            assert SYSTEM.now_us() >= until
            assert loop.time() >= at - 1e-6

    run(main)


def test_one_that_waits_again_for_what_is_left_is_done_at_last() -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        until, turns = loop.time() + 1e-12, 0
        while (left := until - loop.time()) > 0:
            await asyncio.sleep(left)
            turns += 1
        return turns

    assert run(main) == 1


def test_timeouts_work() -> None:
    async def main() -> None:
        async with asyncio.timeout(30.0):
            await asyncio.sleep(60.0)

    with pytest.raises(TimeoutError):
        run(main)


def test_it_takes_the_clock_that_is_installed() -> None:
    with VirtualClock() as clock:

        async def main() -> None:
            await asyncio.sleep(5.0)

        run(main)
        assert clock.passed_us == 5_000_000
        assert VirtualClock.installed() is clock
    assert VirtualClock.installed() is None


def test_its_own_clock_goes_with_it() -> None:
    loop = VirtualLoop()
    assert VirtualClock.installed() is loop.clock
    loop.close()
    loop.close()
    assert VirtualClock.installed() is None


def test_waiting_without_end_is_an_error() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock, match="no timer"):
        run(main)


@pytest.mark.parametrize("pause_s", [0.0, 1e-9])
def test_going_round_and_round_is_an_error(pause_s: float) -> None:
    async def main() -> None:
        turns = 0
        while turns < 1_000_000:
            turns += 1
            await asyncio.sleep(pause_s)

    with pytest.raises(Deadlock, match="no time has passed"):
        run(main)


def test_two_that_wait_for_what_rounding_has_left_get_there() -> None:
    async def one(turns: int, then_s: float) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        waiter = current().waiter()
        while (left_s := then_s - SYSTEM.monotonic()) > 0:
            await waiter.wait(left_s)

    async def main() -> bool:
        # The loop runs a timer up to a microsecond early, and in each of its turns one of the two has something to do.
        then_s = math.nextafter(SYSTEM.monotonic(), math.inf)
        await asyncio.gather(one(0, then_s), one(1, then_s))
        return SYSTEM.monotonic() >= then_s

    assert run(main)


async def _nothing(*_: object) -> None:
    return None


def _connect() -> Awaitable[Any]:
    return asyncio.open_connection("127.0.0.1", 1)


REAL: dict[str, Callable[[], Awaitable[Any]]] = {
    "thread": lambda: asyncio.to_thread(time.sleep, 0.0),
    "name": lambda: asyncio.get_running_loop().getaddrinfo("localhost", 80),
    "connection": _connect,
    "server": lambda: asyncio.start_server(_nothing, "127.0.0.1", 0),
    "process": lambda: asyncio.create_subprocess_exec("true"),
}


@pytest.mark.parametrize("what", REAL)
def test_what_takes_real_time_is_refused(what: str) -> None:
    async def main() -> None:
        await REAL[what]()

    with pytest.raises(RuntimeError, match="real time"):
        run(main)


def test_watching_a_socket_is_refused() -> None:
    async def main() -> None:
        with socket.socket() as plug:
            asyncio.get_running_loop().add_reader(plug, lambda: None)

    with pytest.raises(RuntimeError, match="descriptor"):
        run(main)


def test_another_thread_is_refused_where_it_calls() -> None:
    caught: list[BaseException] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def call() -> None:
            try:
                loop.call_soon_threadsafe(lambda: None)
            except RuntimeError as error:
                caught.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        loop.call_soon_threadsafe(lambda: None)  # its own thread may
        await asyncio.sleep(0)

    run(main)
    assert "thread" in str(caught[0])


def _order(seed: int | None) -> list[int]:
    order: list[int] = []

    async def steps(name: int) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
            order.append(name)

    async def main() -> None:
        await asyncio.gather(*(steps(name) for name in range(8)))

    run(main, seed=seed)
    return order


def test_a_seed_decides_which_task_goes_first() -> None:
    assert _order(None) == [*range(8)] * 3
    assert _order(1) == _order(1)
    assert len({tuple(_order(seed)) for seed in range(20)}) == 20
    assert sorted(_order(3)) == sorted([*range(8)] * 3)


def test_callbacks_keep_the_order_that_asyncio_promises() -> None:
    for seed in range(20):
        called: list[int] = []

        async def main(called: list[int] = called) -> None:
            loop = asyncio.get_running_loop()
            others = [asyncio.ensure_future(asyncio.sleep(0)) for _ in range(5)]
            for place in range(10):
                loop.call_soon(called.append, place)
            await asyncio.gather(*others)

        run(main, seed=seed)
        assert called == list(range(10))


@pytest.mark.anyio
@on_virtual_asyncio
async def test_anyio_tests_can_run_in_it(anyio_backend: object) -> None:
    await asyncio.sleep(3600.0)
    assert isinstance(asyncio.get_running_loop(), VirtualLoop)
