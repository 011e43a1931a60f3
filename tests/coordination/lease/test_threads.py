"""Without an event loop: the same lease behind the blocking door, by eight threads, on real stores."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from sdpatterns import Lease
from sdpatterns.blocking import blocking
from sdpatterns.coordination.lease import current_lease
from sdpatterns.errors import LeaseLost, LeaseNotGranted
from tests.backends.everywhere import each_blocking_backend, unique
from tests.threads import in_threads

backend = each_blocking_backend


def lease_on(backend: Any, **settings: Any) -> Any:
    return blocking(Lease(unique("payout"), store=backend.states, signals=backend.signals, **settings))


def test_eight_threads_are_alone(backend: Any) -> None:
    lease, inside, fences = lease_on(backend), [0], list[int]()

    def work() -> None:
        for _ in range(5):
            with lease.guard("k") as held:
                inside[0] += 1
                assert inside[0] == 1
                fences.append(held.fence)
                time.sleep(0.001)
                inside[0] -= 1

    in_threads(work)
    assert len(fences) == 40
    assert fences == sorted(set(fences))


def test_a_thread_is_woken_by_the_release(backend: Any) -> None:
    lease = lease_on(backend, lease_s=600.0)
    held = lease.wait("k")
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(lease.wait("k", max_wait_s=300.0)), daemon=True)
    thread.start()
    while lease.acquire("k").allowed or not lease._inside._permits._waiters:
        time.sleep(0.005)
    lease.release(held)
    thread.join(60.0)
    assert got[0].fence > held.fence


def test_a_decorated_function_holds_its_key(backend: Any) -> None:
    lease = lease_on(backend)

    @lease.by(lambda seller: seller)
    def pay(seller: str) -> int:
        assert lease.acquire(seller).allowed is False
        with pytest.raises(LeaseNotGranted):
            lease.wait(seller, max_wait_s=0.05)
        return current_lease().fence

    assert pay("s-1") < pay("s-1")


def test_a_thread_learns_at_the_end_that_it_lost_the_lease(backend: Any) -> None:
    lease = lease_on(backend, lease_s=1.5)
    ended = False
    with pytest.raises(LeaseLost), lease.guard("k"):  # noqa: PT012 - the whole block is cancelled
        backend.shift(2.0)
        assert lease.acquire("k").allowed is True
        time.sleep(1.2)
        ended = True
    assert ended, "a thread cannot be interrupted"


def test_a_thread_keeps_its_lease_while_it_works(backend: Any) -> None:
    lease = lease_on(backend, lease_s=1.0)
    with lease.guard("k"):
        time.sleep(2.0)
        assert lease.acquire("k").allowed is False
