"""Blocking backends under trio: each step in a worker thread, on a real server."""

from __future__ import annotations

import pytest
import trio

from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.trio import InThreads, SignalsInThreads
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.runtime import BLOCKING
from sdpatterns.ports.states import Space
from sdpatterns.testing.contracts.steps import Add, AddMany


@pytest.fixture
def backend(valkey_url):
    with RedisBackend.from_url(valkey_url, blocking=True, prefix="trio") as backend:
        assert backend.states.runtime is BLOCKING
        yield backend


def test_tasks_of_trio_lose_no_step(backend):
    cells = InThreads(backend.states).cells(Space("numbers", IntegersCodec()))

    async def ten_times():
        for _ in range(10):
            await cells.transact("a", Add())

    async def main():
        await cells.delete("a")
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(ten_times)
        await cells.transact_many(["a", "b"], AddMany(1, 1))
        assert await cells.read("a") == (81,)
        assert (await cells.read_many(["a", "none"])) == [(81,), None]

    trio.run(main)


def test_an_ear_hears_and_lets_itself_be_cancelled(backend):
    signals = SignalsInThreads(backend.signals)

    async def main():
        async with signals.subscribe("counted") as subscription:
            assert await subscription.wait(0.01) is False
            await signals.notify("counted")
            assert await subscription.wait(60.0) is True
            with trio.move_on_after(0.05) as scope:
                await subscription.wait()
            assert scope.cancelled_caught

    trio.run(main)
