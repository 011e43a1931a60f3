"""A projection: applies each event of a store to a view, once, in order."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeAlias

from sdpatterns.core import clock
from sdpatterns.core.keys import check_name, join_key
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.core.ranges import number, seconds, whole
from sdpatterns.core.runtime import Runtime, Waiter, current
from sdpatterns.core.service import Service
from sdpatterns.errors import BackendError, DeadlineExceeded, EventsTrimmed, OutcomeUnknown, UnknownVersion
from sdpatterns.messaging.eventstore import EventStore
from sdpatterns.messaging.projection.applying import Apply, EventNotApplied, StepRefused, applied
from sdpatterns.messaging.projection.decision import (
    LIVE,
    PROJECTIONS,
    HeldProjection,
    HoldProjection,
    MoveProjection,
    ParkedStream,
    PublishVersion,
    ReleaseProjection,
    RetryStream,
)
from sdpatterns.messaging.projection.notices import ProjectionAdvanced, StreamParked, VersionPublished
from sdpatterns.messaging.wakeups import wake_on_signals, wake_on_stop
from sdpatterns.ports.backend import HasSignals, HasStates
from sdpatterns.ports.log import RecordedEvent
from sdpatterns.ports.states import Cells, Space

__all__ = ["Projection", "ProjectionBackend", "ProjectionLag", "Transactions"]

_log = logging.getLogger("sdpatterns")

Transactions: TypeAlias = Callable[[], AbstractAsyncContextManager[Any] | AbstractContextManager[Any]]
"""Begins a transaction that commits at the end of its block, such as `async_sessionmaker(...).begin`."""

_PAUSE_FIRST_S = 0.05
_PARKED_MAX = 100


class ProjectionBackend(HasStates, HasSignals, Protocol):
    """What a projection needs: a cell for its position, and signals. With `transactions` also `within(session)`."""


class ProjectionLag(NamedTuple):
    """How far a projection is behind its log: in positions, of which some may have no event."""

    position: int
    head: int

    @property
    def positions(self) -> int:
        """How many positions are still to come."""
        return max(0, self.head - self.position)


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
    **May fail** with nothing while the store is away or an event cannot be applied: it waits, or parks the stream.
    A stream is tried `attempts_max` times, then left to you. Where 100 streams are parked it waits for one of them,
    because the fault is hardly in the events. On an event of a newer release it waits for a runner of that release.
    With `EventsTrimmed` where the log no longer has what it needs.
    **Costs** for each `batch` events one read and one transaction (or step); one look each `poll_s`.
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
        self._apply = apply
        self._backend = backend
        self._transactions = transactions
        self._batch = whole("batch", batch, 1, 10_000)
        self._attempts_max = whole("attempts_max", attempts_max, 1)
        self._retry_s = seconds("retry_s", retry_s)
        self._lease_s = number("lease_s", lease_s, 1.0, 86_400.0)
        self._poll_s = number("poll_s", poll_s, 0.01, 3600.0)
        self._key = join_key(name, str(version))
        self._space = Space("projections", PROJECTIONS)
        self._cells: Cells[Any] = backend.states.cells(self._space)
        self._live = backend.states.cells(Space("projections/live", LIVE))
        self._topic = f"projection/{self._key}"
        self._runner = os.urandom(8).hex()
        self._held_s = float("-inf")
        self._is_stopping = self._is_over = self._is_live = self._is_mine = False

    @property
    def runtime(self) -> Runtime | None:
        """The runtime that the store needs."""
        return self._store.runtime

    async def position(self) -> int:
        """Up to where events are applied; those of parked streams are not."""
        found = await self._cells.read(self._key)
        return 0 if found is None else found.position

    async def lag(self) -> ProjectionLag:
        """How far it is behind the log."""
        return ProjectionLag(await self.position(), (await self._store.log.head()).position)

    async def caught_up(self, position: int, timeout_s: float = 5.0) -> None:
        """Wait until the event at `position` is applied, so that a page sees what its request has written.

        Raises `DeadlineExceeded` after `timeout_s`. The answer of `EventStore.run` and `append` has the position.
        """
        until_s = clock.SYSTEM.monotonic() + timeout_s
        async with self._backend.signals.subscribe(self._topic) as subscription:
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
        found = await self._cells.read(self._key)
        return {} if found is None else found.parked

    async def retry(self, stream: str, *, leave_out: bool = False) -> bool:
        """Try a parked stream again now, with `leave_out` without the event that failed; False if it is not parked."""
        return bool(await self._cells.transact(self._key, RetryStream(stream, self._topic, leave_out=leave_out)))

    async def run_due(self) -> int:
        """Apply all that is there, then return how many events that were. For tests, and for a timer's program."""
        count = 0
        while (found := await self._step()) is not None:
            count += found
        return count

    async def work(self, stop: Waiter, /) -> None:
        """Apply events until `stop` wakes."""
        runtime = current()
        wake = runtime.waiter()
        self._is_stopping = self._is_over = False

        def stopped() -> None:
            self._is_stopping = True
            wake.wake()

        async with runtime.group() as group:
            group.start(partial(wake_on_stop, stop, stopped, lambda: self._is_over))
            for topic in (self._store.log.topic, self._topic):
                group.start(partial(
                    wake_on_signals, self._backend.signals, topic, wake.wake, lambda: self._is_over, self._poll_s
                ))  # fmt: skip
            try:
                await self._serve(wake)
            finally:
                self._is_over = True
                group.cancel()

    async def _serve(self, wake: Waiter) -> None:
        pause_s = _PAUSE_FIRST_S
        while not self._is_stopping:
            try:
                found = await self._step()
            except BackendError as error:
                if pause_s == _PAUSE_FIRST_S:
                    _log.warning("projection %r waits for its store: %s", self.name, error)
                await wake.wait(pause_s)
                pause_s = min(2 * pause_s, self._poll_s)
                continue
            pause_s = _PAUSE_FIRST_S
            if found is None:
                await wake.wait(self._poll_s)
        try:
            await self._cells.transact(self._key, ReleaseProjection(self._runner, self._topic))
        except BackendError:
            # Its lease ends by itself.
            _log.info("projection %r was not released", self.name)

    async def _step(self) -> int | None:
        """Apply one page, or try parked streams again; how many events, None where there is nothing to do now."""
        held = await self._hold()
        if not held.is_mine:
            return None
        again = await self._try_parked(held)
        if again is not None:
            return again
        if len(held.state.parked) >= _PARKED_MAX:
            return None
        page = await self._store.log.read_all(held.state.position, self._batch)
        if not page.events and page.position == held.state.position:
            await self._publish(page.head, held)
            return None
        events = [it for it in page.events if it.stream not in held.state.parked]
        return await self._page(held, events, page.position, page.head)

    async def _hold(self) -> HeldProjection:
        asked_s = clock.SYSTEM.monotonic()
        held: HeldProjection = await self._cells.transact(self._key, HoldProjection(self._runner, self._lease_s))
        self._held_s, self._is_mine = asked_s, held.is_mine
        return held

    async def _page(self, held: HeldProjection, events: Sequence[RecordedEvent], to: int, head: int) -> int | None:
        """Apply events and move to `to`; only to the first that fails, whose stream is parked with the same move."""
        count, parked, is_newer = len(events), dict[str, ParkedStream | None](), False
        while True:
            try:
                done = await self._commit(held, events, to, parked)
                break
            except EventNotApplied as failed:
                # One before it may fail in the next attempt, and is then the first.
                count, before = failed.place, events[: failed.place]
                is_newer = isinstance(failed.error, UnknownVersion)
                if is_newer:
                    to, parked = before[-1].position if before else held.state.position, {}
                else:
                    to = failed.recorded.position
                    parked = self._park(failed.recorded, 0, held.now_us, failed.error)
                # What came before has had its effect, unless the transaction undid it.
                events = [] if self._transactions is None else before
        if done and LISTENERS:
            tell(ProjectionAdvanced(
                name=self.name, version=self.version, events=count, position=to, lag=max(0, head - to)
            ))  # fmt: skip
        if is_newer:
            # A runner of the newer release has to go on from here.
            await self._cells.transact(self._key, ReleaseProjection(self._runner, self._topic))
            return None
        return count if done else 0

    async def _try_parked(self, held: HeldProjection) -> int | None:
        """One event of a stream that is due again."""
        for stream, parked in held.state.parked.items():
            if parked.due_us is None or parked.due_us > held.now_us:
                continue
            try:
                page = await self._store.log.read(stream, parked.version - 1, 1)
            except EventsTrimmed as error:
                gone = parked._replace(due_us=None, reason=str(error))
                await self._commit(held, [], held.state.position, {stream: gone})
                return 0
            events = [it for it in page.events if it.position <= held.state.position]
            after = {stream: parked._replace(version=parked.version + 1, attempts=0) if events else None}
            try:
                await self._commit(held, events, held.state.position, after)
            except EventNotApplied as failed:
                after = self._park(failed.recorded, parked.attempts, held.now_us, failed.error)
                await self._commit(held, [], held.state.position, after)
                return 0
            return len(events)
        return None

    def _park(
        self, recorded: RecordedEvent, attempts: int, now_us: int, error: Exception
    ) -> dict[str, ParkedStream | None]:
        attempts += 1
        reason = f"{type(error).__name__}: {error}"[:500]
        wait_us = round(self._retry_s * 1_000_000) << min(attempts - 1, 10)
        due_us = now_us + wait_us if attempts < self._attempts_max else None
        if LISTENERS:
            tell(StreamParked(
                name=self.name, version=self.version, stream=recorded.stream, attempts=attempts, reason=reason
            ))  # fmt: skip
        return {recorded.stream: ParkedStream(recorded.version, attempts, due_us, reason)}

    async def _commit(
        self,
        held: HeldProjection,
        events: Sequence[RecordedEvent],
        to: int,
        parked: Mapping[str, ParkedStream | None] | None = None,
    ) -> bool:
        """Apply the events and move the position; False where another runner has taken the projection over."""
        move = MoveProjection(self._runner, held.state.position, to, parked or {}, self._topic)
        try:
            if self._transactions is None:
                await applied(self._store, events, self._apply, self._still_mine)
                return bool(await self._cells.transact(self._key, move))
            async with _entered(self._transactions) as session:
                # First, because it locks the row: another runner waits then, and its work is not done for nothing.
                await self._moved(move, session)
                await applied(self._store, events, partial(_with_session, self._apply, session))
        except StepRefused:
            return False
        except (EventNotApplied, BackendError):
            raise
        except Exception as error:
            # What the transaction itself raises; it may have been committed. The position tells.
            raise OutcomeUnknown(f"the transaction of projection {self.name!r} failed: {error}") from error
        return True

    async def _moved(self, move: MoveProjection, session: Any) -> None:
        view: HasStates = self._backend.within(session)  # type: ignore[attr-defined] # asked for when it was built
        if not await view.states.cells(self._space).transact(self._key, move):
            raise StepRefused

    async def _still_mine(self) -> None:
        """Between two events that are not in a transaction: keep the lease. Raises `StepRefused` if it is lost."""
        if clock.SYSTEM.monotonic() - self._held_s > self._lease_s / 3:
            await self._hold()
            if not self._is_mine:
                raise StepRefused

    async def _publish(self, head: int, held: HeldProjection) -> None:
        """Make this version the one to read, once it has all events."""
        if self._is_live or head > held.state.position or held.state.parked:
            return
        is_first = await self._live.transact(self.name, PublishVersion(self.version))
        # Only now, because the step may fail.
        self._is_live = True
        if is_first and LISTENERS:
            tell(VersionPublished(name=self.name, version=self.version))


def _with_session(apply: Apply, session: Any, stored: Any) -> Any:
    return apply(stored, session)


@asynccontextmanager
async def _entered(transactions: Transactions) -> AsyncIterator[Any]:
    """The transaction, whether its block is async or plain."""
    block: Any = transactions()
    if hasattr(block, "__aenter__"):
        async with block as session:
            yield session
    else:
        with block as session:
            yield session
