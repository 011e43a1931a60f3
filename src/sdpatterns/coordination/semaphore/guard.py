"""Permits for the whole fleet: a lease of which there are several."""

from __future__ import annotations

from collections.abc import Callable

from sdpatterns.coordination.lease.config import LeaseConfig
from sdpatterns.coordination.lease.guard import LeasedGuard, permits_of
from sdpatterns.coordination.lease.waiting import next_caller
from sdpatterns.core.ranges import whole
from sdpatterns.ports.signals import SignalBus
from sdpatterns.ports.states import KEYS_MAX, StateStore

__all__ = ["Semaphore"]

_PERMITS_MAX = 10_000


class Semaphore(LeasedGuard):
    """Lets at most `permits` callers at a time work on a key, in all processes that share a store.

    A `Bulkhead` limits the calls of one process; this limits those of all. Used without a key it is one semaphore for
    all callers. `permits` may differ between processes while a new number is rolled out: the one that asks last counts.

    **Keeps**: by the store's clock at most `permits` callers hold a key, each with a lease and a fence of its own;
    those that wait get theirs in the order in which they came. A process that dies gives its permit back when its lease
    ends, and no other permit with it.

    **May fail** as a `Lease` does, with `LeaseNotGranted`, `LeaseLost`, `BackendUnavailable` or `BackendFull`.

    **Costs** as a `Lease` does: one step to take a permit and one to release it. A cell takes about 60 bytes for each
    permit that is held and each caller that waits.

    ```python
    exports = Semaphore("exports", permits=3, store=backend.states, signals=backend.signals)

    async with exports.guard("tenant-7"):
        await export()
    ```
    """

    def __init__(
        self,
        name: str,
        *,
        permits: int,
        store: StateStore,
        signals: SignalBus,
        lease_s: float = 10.0,
        wait_max_s: float = 60.0,
        waiters_max: int = 1_000,
        keys_max: int = KEYS_MAX,
        callers: Callable[[], str] = next_caller,
    ) -> None:
        self.permits = whole("permits", permits, 1, _PERMITS_MAX)
        config = LeaseConfig(lease_s=lease_s, wait_max_s=wait_max_s, waiters_max=waiters_max)
        held = permits_of(
            "Semaphore", name, store, signals, config, slots=permits, keys_max=keys_max, callers=callers
        )  # fmt: skip
        super().__init__(held, store)

    def describe(self) -> str:
        """Its permits beside what a lease says."""
        return f"{super().describe()[:-1]}, {self.permits} permits)"
