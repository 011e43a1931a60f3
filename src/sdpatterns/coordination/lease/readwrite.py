"""One key for many readers or one writer."""

from __future__ import annotations

from collections.abc import Callable

from sdpatterns.coordination.lease.config import LeaseConfig
from sdpatterns.coordination.lease.guard import LeasedGuard, permits_of
from sdpatterns.coordination.lease.held import Holding
from sdpatterns.coordination.lease.waiting import next_caller
from sdpatterns.core.runtime import Runtime
from sdpatterns.core.undivided import Undivided
from sdpatterns.ports.signals import SignalBus
from sdpatterns.ports.states import KEYS_MAX, StateStore

__all__ = ["ReadSide", "ReadWriteLease", "WriteSide"]

_READERS_MAX = 1 << 30
"""As many permits as there will never be readers: a reader takes one, a writer all."""


class ReadSide(LeasedGuard):
    """The readers of a `ReadWriteLease`: they share a key with each other."""


class WriteSide(LeasedGuard):
    """The writers of a `ReadWriteLease`: each has a key alone."""


class ReadWriteLease(Undivided):
    """Lets many readers or one writer at a time work on a key, in all processes that share a store.

    `readers` and `writers` are guards with everything that a `Lease` has; `reading` and `writing` are the short form.

    **Keeps**: no reader and no other caller holds a key together with a writer; callers are served in the order in
    which they came, so that readers that come while a writer waits stand behind it and do not starve it.

    **May fail** and **costs** as a `Lease` does.

    ```python
    catalog = ReadWriteLease("catalog", store=backend.states, signals=backend.signals)

    async with catalog.reading("shoes"):
        ...
    async with catalog.writing("shoes") as held:
        ...
    ```
    """

    _elsewhere = "build it there, at import time, with the same store"

    def __init__(
        self,
        name: str,
        *,
        store: StateStore,
        signals: SignalBus,
        lease_s: float = 10.0,
        wait_max_s: float = 60.0,
        waiters_max: int = 1_000,
        keys_max: int = KEYS_MAX,
        callers: Callable[[], str] = next_caller,
    ) -> None:
        config = LeaseConfig(lease_s=lease_s, wait_max_s=wait_max_s, waiters_max=waiters_max)
        permits = permits_of(
            "ReadWriteLease", name, store, signals, config, slots=_READERS_MAX, keys_max=keys_max, callers=callers
        )
        self.name = name
        # Both sides stand in one line, so that readers and writers are served in the order in which they came.
        self.readers = ReadSide(permits, store)
        self.writers = WriteSide(permits, store, _READERS_MAX)

    def __repr__(self) -> str:
        return f"<ReadWriteLease {self.name!r}>"

    @property
    def runtime(self) -> Runtime | None:
        """The runtime that its store needs."""
        return self.readers.runtime

    def reading(self, key: str = "", /) -> Holding:
        """`async with` around work that reads."""
        return self.readers.guard(key)

    def writing(self, key: str = "", /) -> Holding:
        """`async with` around work that writes."""
        return self.writers.guard(key)
