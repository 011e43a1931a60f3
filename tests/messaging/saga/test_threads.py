"""Sagas without an event loop: runs and branches are threads."""

from __future__ import annotations

import threading

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.runtime import finish
from sdpatterns.messaging.saga import SagaRun, Sagas, SagaWorker

PATIENCE_S = 60.0


def test_branches_meet_and_the_run_ends() -> None:
    sagas = Sagas("orders", backend=MemoryBackend())
    both_there = threading.Barrier(2)

    async def meet(name: str) -> str:
        both_there.wait(PATIENCE_S)
        return name

    @sagas.saga
    async def order(run: SagaRun) -> tuple[str, str]:
        return await run.parallel(run.step("a", meet, "a"), run.step("b", meet, "b"))

    async def placed() -> list[tuple[str, str]]:
        async with SagaWorker(sagas, concurrency=2):
            handles = [await order.start() for _ in range(3)]
            return [await handle.result(PATIENCE_S) for handle in handles]

    assert finish(placed()) == [("a", "b")] * 3
