"""A projection: applies each event of a store to a view, once, in order."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sdpatterns.core import clock
from sdpatterns.core.keys import check_name, join_key
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.core.ranges import number, seconds, whole
from sdpatterns.core.runtime import Runtime, Waiter, current
from sdpatterns.core.service import Service
from sdpatterns.errors import DeadlineExceeded
from sdpatterns.messaging.eventstore import EventStore
from sdpatterns.messaging.projection.applying import Apply
from sdpatterns.messaging.projection.decision import (
    LIVE,
    DeclarePartitions,
    HeldProjection,
    ParkedStream,
    ProjectionState,
    PublishVersion,
    RetryStream,
)
from sdpatterns.messaging.projection.notices import VersionPublished
from sdpatterns.messaging.projection.partition import (
    SPACE,
    Partition,
    PartitionSettings,
    ProjectionBackend,
    ProjectionLag,
    Transactions,
    partition_of,
)
from sdpatterns.messaging.wakeups import wake_on_signals, wake_on_stop
from sdpatterns.ports.states import Cells, Space

__all__ = ["Projection", "ProjectionBackend", "ProjectionLag", "Transactions"]


class Projection(Service):
    """Applies the events of a store to a view: `async with Projection("order list", store, apply, backend=backend):`.

    ```
    hold --> read a page --> [ apply each event to the view; move the position ] --> again, or wait for more
                                  one transaction, with `transactions`
                 fails at one event --> its stream is parked and tried again later; the other streams go on
    ```

    `apply(stored)` changes the view; `apply(stored, session)` with `transactions`. It may be async.

    **Keeps**: events of a stream are applied in order, and none is skipped. With `transactions` the position is
    committed with the effect, so each event has its effect once, also with several runners and after a crash. Without,
    one runner at a time works, and after a crash up to `batch` events are applied again: keep `stored.position` in your
    document and leave out what is not later.
    With `partitions` events of different streams are applied side by side: each stream belongs to one partition, and
    each partition has a position, a lease and a transaction of its own. So the partitions may be on several machines.
    **May fail** with nothing while the store is away or an event cannot be applied: it waits, or parks the stream.
    A stream is tried `attempts_max` times, then left to you. Where 100 streams are parked it waits for one of them,
    because the fault is hardly in the events. On an event of a newer release it waits for a runner of that release.
    With `EventsTrimmed` where the log no longer has what it needs, and with `ValueError` where the version was begun
    with another number of partitions.
    **Costs** for each `batch` events one read and one transaction (or step), of each partition; one look each `poll_s`.
    """

    def __init__(
        self,
        name: str,
        store: EventStore,
        apply: Apply,
        *,
        backend: ProjectionBackend,
        transactions: Transactions | None = None,
        version: int = 1,
        partitions: int = 1,
        batch: int = 100,
        attempts_max: int = 5,
        retry_s: float = 1.0,
        lease_s: float = 30.0,
        poll_s: float = 1.0,
        drain_s: float = 30.0,
    ) -> None:
        super().__init__(check_name("Projection", name), drain_s=drain_s)
        if transactions is not None and not callable(getattr(backend, "within", None)):
            raise TypeError(f"transactions need a backend with within(session), and {type(backend).__name__} has none")
        self.version = whole("version", version, 1)
        self._store = store
        self._backend = backend
        self._poll_s = number("poll_s", poll_s, 0.01, 3600.0)
        self._key = join_key(name, str(version))
        self._cells: Cells[Any] = backend.states.cells(SPACE)
        self._live = backend.states.cells(Space("projections/live", LIVE))
        self._declared = backend.states.cells(Space("projections/partitions", LIVE))
        count = whole("partitions", partitions, 1, 100)
        settings = PartitionSettings(
            name=name, version=version, runner=self._new_runner(), store=store, apply=apply, backend=backend,
            transactions=transactions, partitions=count, batch=whole("batch", batch, 1, 10_000),
            attempts_max=whole("attempts_max", attempts_max, 1), retry_s=seconds("retry_s", retry_s),
            lease_s=number("lease_s", lease_s, 1.0, 86_400.0), poll_s=self._poll_s,
        )  # fmt: skip
        keys = [self._key] if count == 1 else [join_key(name, str(version), str(place)) for place in range(count)]
        self._partitions = [
            Partition(settings, place, key, self._declare, self._publish) for place, key in enumerate(keys)
        ]
        self._is_stopping = self._is_over = self._is_live = self._is_declared = False

    def _new_runner(self) -> str:
        return os.urandom(8).hex()

    @property
    def runtime(self) -> Runtime | None:
        """The runtime that the store needs."""
        return self._store.runtime

    async def position(self) -> int:
        """Up to where events are applied; those of parked streams are not."""
        return min(it.position for it in await self._states())

    async def lag(self) -> ProjectionLag:
        """How far it is behind the log."""
        return ProjectionLag(await self.position(), (await self._store.log.head()).position)

    def last_lag(self) -> ProjectionLag | None:
        """How far what this runner holds was behind at its last look, for a gauge; None while other runners have it."""
        known = [it.lag for it in self._partitions if it.lag is not None]
        return max(known, key=lambda lag: lag.positions, default=None)

    async def caught_up(self, position: int, timeout_s: float = 5.0) -> None:
        """Wait until the event at `position` is applied, so that a page sees what its request has written.

        Raises `DeadlineExceeded` after `timeout_s`. The answer of `EventStore.run` and `append` has the position.
        """
        until_s = clock.SYSTEM.monotonic() + timeout_s
        async with self._backend.signals.subscribe(*[it.topic for it in self._partitions]) as subscription:
            while await self.position() < position:
                left_s = until_s - clock.SYSTEM.monotonic()
                if left_s <= 0:
                    raise DeadlineExceeded(self.name, timeout_s)
                await subscription.wait(min(left_s, self._poll_s))

    async def live_version(self) -> int:
        """The version that readers are to read: the latest one that has caught up; 0 before there is any."""
        found = await self._live.read(self.name)
        return 0 if found is None else found[0]

    async def parked(self) -> Mapping[str, ParkedStream]:
        """The streams that wait because an event of theirs could not be applied."""
        return {stream: parked for it in await self._states() for stream, parked in it.parked.items()}

    async def retry(self, stream: str, *, leave_out: bool = False) -> bool:
        """Try a parked stream again now, with `leave_out` without the event that failed; False if it is not parked."""
        partition = self._partitions[partition_of(stream, len(self._partitions))]
        return bool(
            await self._cells.transact(partition.key, RetryStream(stream, partition.topic, leave_out=leave_out))
        )

    async def run_due(self) -> int:
        """Apply all that is there, then return how many events that were. For tests, and for a timer's program."""
        count = 0
        while (found := await self._step()) is not None:
            count += found
        return count

    async def work(self, stop: Waiter, /) -> None:
        """Apply events until `stop` wakes."""
        runtime = current()
        wakes = [runtime.waiter() for _ in self._partitions]
        self._is_stopping = self._is_over = False

        def wake_all() -> None:
            for wake in wakes:
                wake.wake()

        def stopped() -> None:
            self._is_stopping = True
            wake_all()

        topics = [(self._store.log.topic, wake_all)]
        topics += [(it.topic, wake.wake) for it, wake in zip(self._partitions, wakes, strict=True)]
        async with runtime.group() as group:
            group.start(partial(wake_on_stop, stop, stopped, lambda: self._is_over))
            for topic, wake in topics:
                group.start(partial(
                    wake_on_signals, self._backend.signals, topic, wake, lambda: self._is_over, self._poll_s
                ))  # fmt: skip
            try:
                await self._serve(wakes)
            finally:
                self._is_over = True
                group.cancel()

    async def _serve(self, wakes: Sequence[Waiter]) -> None:
        """All partitions side by side; the first that fails ends the others."""
        try:
            async with current().group() as group:
                for partition, wake in list(zip(self._partitions, wakes, strict=True))[1:]:
                    group.start(partial(partition.serve, wake, lambda: self._is_stopping))
                await self._partitions[0].serve(wakes[0], lambda: self._is_stopping)
        finally:
            self._is_stopping = True

    async def _step(self) -> int | None:
        """One step of each partition; how many events, None where none has anything to do."""
        found = [await partition.step() for partition in self._partitions]
        counts = [count for count in found if count is not None]
        return sum(counts) if counts else None

    async def _declare(self) -> None:
        """Say how many partitions this version has: another number would apply events again, or leave some out."""
        if self._is_declared:
            return
        count = len(self._partitions)
        # An earlier release has begun it, without a word about partitions.
        is_single = count > 1 and await self._cells.read(self._key) is not None
        found = 1 if is_single else await self._declared.transact(self._key, DeclarePartitions(count))
        if found != count:
            raise ValueError(
                f"version {self.version} of projection {self.name!r} was begun with {found} partitions, not {count}: "
                "give it the next version"
            )
        self._is_declared = True

    async def _publish(self, head: int, held: HeldProjection) -> None:
        """Make this version the one to read, once it has all events."""
        if self._is_live or head > held.state.position or held.state.parked:
            return
        if len(self._partitions) > 1:
            states = await self._states()
            # The head is read after the positions, so that there was a moment at which none was behind it.
            head = (await self._store.log.head()).position
            if any(state.position < head or state.parked for state in states):
                return
        is_first = await self._live.transact(self.name, PublishVersion(self.version))
        # Only now, because the step may fail.
        self._is_live = True
        if is_first and LISTENERS:
            tell(VersionPublished(name=self.name, version=self.version))

    async def _states(self) -> list[ProjectionState]:
        found = await self._cells.read_many([it.key for it in self._partitions])
        return [ProjectionState() if state is None else state for state in found]
