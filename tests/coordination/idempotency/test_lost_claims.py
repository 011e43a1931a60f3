"""A claim whose reply was lost is given back, although no caller learned that it was made."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import anyio
import pytest

from sdpatterns import Idempotency
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.blocking import blocking
from sdpatterns.core.runtime import BLOCKING
from sdpatterns.errors import BackendUnavailable, ClaimHeld, OutcomeUnknown
from tests.coordination.idempotency.slow_store import SlowStates

pytestmark = pytest.mark.anyio

LEASE_S = 30.0


async def work() -> str:
    return "paid"


@pytest.fixture
def store(backend: MemoryBackend) -> SlowStates:
    return SlowStates(backend)


async def lost(step: str) -> None:
    if step == "TakeClaim":
        raise OutcomeUnknown("the reply was lost")


async def nothing(_step: str) -> None:
    return


async def test_a_claim_with_a_lost_reply_is_released_in_the_background(store: SlowStates) -> None:
    idem = Idempotency("till", store=store, lease_s=LEASE_S)
    store.after = lost
    with pytest.raises(OutcomeUnknown):
        await idem.call("k", work)
    store.after = nothing
    await anyio.sleep(0.2)
    assert await idem.call("k", work) == "paid"


async def test_it_is_given_back_when_the_store_comes_back(store: SlowStates) -> None:
    idem = Idempotency("till", store=store, lease_s=LEASE_S)

    async def away(step: str) -> None:
        if step == "Release":
            raise BackendUnavailable("away")

    store.after, store.before = lost, away
    with pytest.raises(OutcomeUnknown):
        await idem.call("k", work)
    store.after = nothing
    await anyio.sleep(10.0)
    with pytest.raises(ClaimHeld):
        await idem.call("k", work)
    store.before = nothing
    await anyio.sleep(1.1)
    assert await idem.call("k", work) == "paid"


async def test_a_claim_that_is_made_late_is_given_back_too(backend: MemoryBackend, store: SlowStates) -> None:
    owners = iter(["late", "next"])
    idem = Idempotency("till", store=store, lease_s=LEASE_S, owners=lambda: next(owners))
    late = Idempotency("till", store=backend.states, lease_s=LEASE_S, owners=lambda: "late")
    store.before = lost
    with pytest.raises(OutcomeUnknown):
        await idem.call("k", work)
    store.before = nothing
    await anyio.sleep(0.1)
    await late.claim("k")  # the request was on its way all the time
    await anyio.sleep(3.0)
    await idem.claim("k")


async def test_another_owner_keeps_the_key(store: SlowStates) -> None:
    idem = Idempotency("till", store=store, lease_s=LEASE_S)
    store.before = lost
    with pytest.raises(OutcomeUnknown):
        await idem.call("k", work)
    store.before = nothing
    held = await idem.claim("k")
    await anyio.sleep(5.0)
    with pytest.raises(ClaimHeld):
        await idem.claim("k")
    assert store.steps.count("Release") == 6
    await held.release()  # type: ignore[union-attr] # a claim


async def test_many_lost_claims_are_given_back_by_one_task_within_a_bound(store: SlowStates) -> None:
    idem = Idempotency("till", store=store, lease_s=LEASE_S)
    store.after = lost
    for number in range(1_100):
        with pytest.raises(OutcomeUnknown):
            await idem.call(f"{number}", work)
    store.after = nothing
    await anyio.sleep(1.0)
    assert await idem.call("999", work) == "paid"
    with pytest.raises(ClaimHeld):
        await idem.call("1099", work)


async def test_a_cancelled_claim_that_could_not_be_taken_back_is_given_back_later(store: SlowStates) -> None:
    idem = Idempotency("till", store=store, lease_s=LEASE_S)

    async def stop(step: str) -> None:
        if step == "TakeClaim":
            scope.cancel()
            await anyio.sleep(1.0)

    async def away(step: str) -> None:
        if step == "Release":
            raise BackendUnavailable("away")

    store.after, store.before = stop, away
    with anyio.CancelScope() as scope:
        await idem.call("k", work)
    store.after = store.before = nothing
    await anyio.sleep(1.2)
    assert await idem.call("k", work) == "paid"


def test_in_a_program_without_a_loop_a_thread_gives_it_back(tmp_path: Path) -> None:
    backend = MemoryBackend()
    store = SlowStates(backend)
    store.runtime = BLOCKING
    gone = threading.Event()

    async def told(step: str) -> None:
        await lost(step)
        if step == "Release":
            gone.set()

    store.before, store.after = nothing, told
    idem = blocking(Idempotency("till", store=store, lease_s=LEASE_S))
    with pytest.raises(OutcomeUnknown):
        idem.call("k", lambda: "paid")
    assert gone.wait(30.0)
    store.after = nothing
    assert idem.call("k", lambda: "paid") == "paid"


def test_the_end_of_a_loop_leaves_no_worker_behind() -> None:
    store = SlowStates(MemoryBackend())
    idem = Idempotency("till", store=store, lease_s=LEASE_S)

    async def lose(key: str) -> None:
        store.after = lost
        with pytest.raises(OutcomeUnknown):
            await idem.call(key, work)
        store.after = nothing

    async def again() -> str:
        await lose("b")
        await asyncio.sleep(0.02)
        return await idem.call("a", work)

    asyncio.run(lose("a"))
    assert asyncio.run(again()) == "paid"
