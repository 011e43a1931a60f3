"""The same policy on every store, real ones: memory, SQLite, Postgres, Valkey, a Valkey Cluster."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sdpatterns import Idempotency
from sdpatterns.coordination.idempotency import Claim, Replay
from sdpatterns.errors import ClaimHeld, ClaimLost, KeyReused
from tests.backends.everywhere import each_backend, unique

pytestmark = pytest.mark.anyio
backend = each_backend


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Till:
    def __init__(self, lasts_s: float = 0.05) -> None:
        self.runs = 0
        self.lasts_s = lasts_s

    async def pay(self, order: str) -> dict[str, Any]:
        self.runs += 1
        await asyncio.sleep(self.lasts_s)
        return {"order": order, "run": self.runs, "note": "é\n\x00 {}"}


async def test_fifty_at_once_run_one(backend: Any) -> None:
    till, idem = Till(), Idempotency(unique("till"), store=backend.states)
    calls = (idem.call("é/{x}%", till.pay, "o1") for _ in range(50))
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert till.runs == 1
    assert {type(result) for result in results} == {dict, ClaimHeld}
    assert await idem.call("é/{x}%", till.pay, "o1") == {"order": "o1", "run": 1, "note": "é\n\x00 {}"}


async def test_fifty_at_once_wait_for_one_answer(backend: Any) -> None:
    till = Till(0.2)
    idem = Idempotency(unique("till"), store=backend.states, on_busy="wait", signals=backend.signals)
    results = await asyncio.gather(*(idem.call("k", till.pay, "o1") for _ in range(50)))
    assert till.runs == 1
    assert results == [results[0]] * 50


async def test_two_policies_of_one_name_share_their_keys(backend: Any) -> None:
    name = unique("till")
    till = Till()
    one, other = (Idempotency(name, store=backend.states) for _ in range(2))
    assert await one.call("k", till.pay, "o1") == await other.call("k", till.pay, "o1")
    assert till.runs == 1
    with pytest.raises(KeyReused):
        await other.call("k", till.pay, "o2")


async def test_expiry_is_the_stores_business(backend: Any) -> None:
    idem = Idempotency(unique("till"), store=backend.states, lease_s=30.0, keep_s=100.0)
    first = await idem.claim("k")
    assert isinstance(first, Claim)
    backend.shift(29.0)
    with pytest.raises(ClaimHeld):
        await idem.claim("k")
    backend.shift(2.0)
    second = await idem.claim("k")
    assert isinstance(second, Claim)
    assert second.fence > first.fence
    with pytest.raises(ClaimLost):
        await first.store("late")
    await second.store({"bytes": b"\x00\xff"})
    assert await idem.claim("k") == Replay({"bytes": b"\x00\xff"}, second.fence)
    backend.shift(101.0)
    assert isinstance(await idem.claim("k"), Claim), "kept for its time and no longer"


async def test_a_released_key_is_free_at_once(backend: Any) -> None:
    idem = Idempotency(unique("till"), store=backend.states)
    fences = []
    for _ in range(5):
        claim = await idem.claim("k")
        assert isinstance(claim, Claim)
        fences.append(claim.fence)
        await claim.release()
    assert fences == sorted(set(fences))


async def test_a_heartbeat_keeps_a_claim_on_a_real_store(backend: Any) -> None:
    till = Till(2.5)  # a busy machine may be a second late, so the lease is no shorter
    idem = Idempotency(unique("till"), store=backend.states, lease_s=1.0, on_busy="wait", signals=backend.signals)
    results = await asyncio.gather(*(idem.call("k", till.pay, "o1") for _ in range(5)))
    assert till.runs == 1
    assert results == [results[0]] * 5


async def test_a_cancelled_call_leaves_the_key_free(backend: Any) -> None:
    till, idem = Till(10.0), Idempotency(unique("till"), store=backend.states)
    task = asyncio.create_task(idem.call("k", till.pay, "o1"))
    while not till.runs:  # noqa: ASYNC110 - the work has no event for its beginning
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    till.lasts_s = 0.0
    assert (await idem.call("k", till.pay, "o1"))["run"] == 2
