"""Without an event loop: the same policy behind the blocking door, by eight threads, on real stores."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sdpatterns import Idempotency
from sdpatterns.blocking import blocking
from sdpatterns.errors import ClaimHeld, ClaimLost
from tests.backends.everywhere import each_blocking_backend, unique

THREADS = 8
backend = each_blocking_backend


class Till:
    def __init__(self, lasts_s: float = 0.05) -> None:
        self.runs: dict[str, int] = {}
        self.lasts_s = lasts_s
        self.lock = threading.Lock()

    def pay(self, order: str) -> str:
        with self.lock:
            self.runs[order] = self.runs.get(order, 0) + 1
        time.sleep(self.lasts_s)
        return f"paid {order}"


def test_eight_threads_run_each_key_once(backend: Any) -> None:
    till, idem = Till(0.01), blocking(Idempotency(unique("till"), store=backend.states))
    barrier = threading.Barrier(THREADS)

    def work(_thread: int) -> list[object]:
        barrier.wait()
        found: list[object] = []
        for number in range(20):
            try:
                found.append(idem.call(f"k{number}", till.pay, f"o{number}"))
            except ClaimHeld as held:
                found.append(type(held))
        return found

    with ThreadPoolExecutor(THREADS) as pool:
        results = list(pool.map(work, range(THREADS)))
    assert till.runs == {f"o{number}": 1 for number in range(20)}
    for number, column in enumerate(zip(*results, strict=True)):
        assert set(column) <= {f"paid o{number}", ClaimHeld}


def test_threads_wait_for_the_one_that_works(backend: Any) -> None:
    till = Till(0.2)
    idem = blocking(Idempotency(unique("till"), store=backend.states, on_busy="wait"))

    @idem.by("k").protect
    def pay(order: str) -> str:
        return till.pay(order)

    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(pay, ["o1"] * THREADS)) == ["paid o1"] * THREADS
    assert till.runs == {"o1": 1}


def test_a_heartbeat_beats_in_its_own_thread(backend: Any) -> None:
    till = Till(2.5)  # a busy machine may be a second late, so the lease is no shorter
    idem = blocking(Idempotency(unique("till"), store=backend.states, lease_s=1.0))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(idem.call, "k", till.pay, "o1")
        time.sleep(1.5)
        with pytest.raises(ClaimHeld):
            idem.call("k", till.pay, "o1")
        assert first.result() == "paid o1"
    assert idem.call("k", till.pay, "o1") == "paid o1"


def test_raw_verbs_without_await(backend: Any) -> None:
    idem = blocking(Idempotency(unique("till"), store=backend.states))
    first = idem.claim("k", {"amount": 5})
    backend.shift(31.0)
    second = idem.claim("k", {"amount": 5})
    assert second.fence > first.fence
    with pytest.raises(ClaimLost):
        first.store("late")
    second.store("mine")
    assert idem.claim("k", {"amount": 5}).answer == "mine"
