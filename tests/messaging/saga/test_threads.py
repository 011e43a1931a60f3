"""Sagas without an event loop: runs and branches are threads."""

from __future__ import annotations

import threading

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.blocking import blocking
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


def test_a_program_without_a_loop_starts_a_run_and_gets_its_result() -> None:
    sagas = Sagas("orders", backend=MemoryBackend())

    async def reserve(article: str) -> str:
        return f"reserved {article}"

    @sagas.saga
    async def order(run: SagaRun, article: str) -> str:
        found = await run.step("reserve", reserve, article)
        return f"{found}, {await run.signal('approved')}"

    with blocking(SagaWorker(sagas)):
        handle = blocking(order).start("lamp")
        assert handle.signal("approved", "by Ada")
        assert handle.result(PATIENCE_S) == "reserved lamp, by Ada"
