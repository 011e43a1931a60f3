"""The moments at which one thing ends and another begins."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import anyio
import anyio.lowlevel
import pytest

from sdpatterns import Idempotency
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.coordination.idempotency import Claim, Replay, current_claim
from sdpatterns.core.runtime import Runtime
from sdpatterns.errors import BackendUnavailable
from tests.coordination.idempotency.slow_store import SlowStates

pytestmark = pytest.mark.anyio

LEASE_S = 9.0


class Subscription:
    """Hears nothing, and takes its time to open and to close."""

    def __init__(
        self, *, is_away: bool = False, fails_to_close: bool = False, closes: anyio.Event | None = None
    ) -> None:
        self.is_away = is_away
        self.fails_to_close = fails_to_close
        self.closes = closes

    async def __aenter__(self) -> Self:
        if self.is_away:
            raise BackendUnavailable("the bus is away")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.closes is not None:
            self.closes.set()
            # Long enough for the tasks that wait for it: trio runs the tasks of one turn in any order.
            await anyio.sleep(0.1)
        await anyio.lowlevel.checkpoint()
        if self.fails_to_close:
            raise BackendUnavailable("the bus is away")

    async def wait(self, timeout_s: float | None = None, /) -> bool:
        await anyio.sleep(0.1)
        return False


class Bus:
    runtime: Runtime | None = None

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription

    async def notify(self, *topics: str) -> None:
        raise AssertionError("nobody announces here")

    def subscribe(self, *topics: str) -> Any:
        return self.subscription


async def test_work_that_stores_its_answer_before_the_heart_beats_may_go_on(backend: MemoryBackend) -> None:
    idem = Idempotency("till", store=backend.states, lease_s=LEASE_S)

    async def work() -> str:
        await current_claim().store("paid")
        await anyio.sleep(3 * LEASE_S)
        return "thanked"

    assert [await idem.call("k", work) for _ in range(2)] == ["thanked", "paid"]


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "store that waits"])
async def test_a_cancellation_after_the_work_does_not_lose_its_answer(backend: MemoryBackend, waits: bool) -> None:
    idem = Idempotency("till", store=SlowStates(backend) if waits else backend.states, lease_s=LEASE_S)
    runs = 0

    async def work() -> str:
        nonlocal runs
        await anyio.sleep(4.0)
        runs += 1
        scope.cancel()
        return "paid"

    with anyio.CancelScope() as scope:
        await idem.call("k", work)
    assert scope.cancelled_caught
    assert (await idem.call("k", work), runs) == ("paid", 1)


async def test_work_that_gives_its_claim_back_is_no_answer(backend: MemoryBackend) -> None:
    idem = Idempotency("till", store=backend.states, lease_s=LEASE_S)

    async def work() -> str:
        await anyio.sleep(1.0)
        await current_claim().release()
        return "try me again"

    assert [await idem.call("k", work) for _ in range(2)] == ["try me again"] * 2
    assert isinstance(await idem.claim("k"), Claim)


async def test_who_is_cancelled_while_the_ear_closes_gives_the_claim_back(backend: MemoryBackend) -> None:
    closes = anyio.Event()
    idem = Idempotency(
        "till", store=SlowStates(backend), lease_s=LEASE_S, on_busy="wait", signals=Bus(Subscription(closes=closes))
    )
    first = await idem.claim("k")
    assert isinstance(first, Claim)

    async with anyio.create_task_group() as group:
        group.start_soon(idem.claim, "k")
        await anyio.sleep(0.25)
        await first.release()
        await closes.wait()
        group.cancel_scope.cancel()
    with anyio.fail_after(1.0):
        assert isinstance(await idem.claim("k"), Claim)


async def test_a_bus_that_is_away_is_no_outage_of_the_store(backend: MemoryBackend) -> None:
    idem = Idempotency(
        "till", store=backend.states, lease_s=LEASE_S, on_busy="wait", wait_max_s=3.0, on_outage="allow",
        signals=Bus(Subscription(is_away=True)),
    )  # fmt: skip
    runs = 0

    async def work() -> str:
        nonlocal runs
        runs += 1
        await anyio.sleep(2.0)
        return "paid"

    answers: list[str] = []

    async def ask() -> None:
        answers.append(await idem.call("k", work))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        group.start_soon(ask)
    assert (answers, runs) == (["paid", "paid"], 1)


async def test_an_ear_that_cannot_be_closed_takes_no_claim_away(backend: MemoryBackend) -> None:
    subscription = Subscription(fails_to_close=True)
    idem = Idempotency("till", store=backend.states, lease_s=LEASE_S, on_busy="wait", signals=Bus(subscription))
    held = await idem.claim("k")
    assert isinstance(held, Claim)

    async with anyio.create_task_group() as group:
        group.start_soon(held.run, _paid)
        assert isinstance(await idem.claim("k"), Replay)


async def _paid() -> str:
    await anyio.sleep(1.0)
    return "paid"
