"""One partition of a projection: the streams whose events are applied one after another, behind one position."""

from __future__ import annotations

import dataclasses
import logging
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeAlias

from sdpatterns.core import clock
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.core.runtime import Waiter
from sdpatterns.errors import BackendError, EventsTrimmed, OutcomeUnknown, UnknownVersion
from sdpatterns.messaging.eventstore import EventStore
from sdpatterns.messaging.projection.applying import Apply, EventNotApplied, StepRefused, applied
from sdpatterns.messaging.projection.decision import (
    PROJECTIONS,
    HeldProjection,
    HoldProjection,
    MoveProjection,
    ParkedStream,
    ReleaseProjection,
)
from sdpatterns.messaging.projection.notices import ProjectionAdvanced, StreamParked
from sdpatterns.ports.backend import HasSignals, HasStates
from sdpatterns.ports.log import RecordedEvent
from sdpatterns.ports.states import Cells, Space

__all__ = [
    "SPACE",
    "Partition",
    "PartitionSettings",
    "ProjectionBackend",
    "ProjectionLag",
    "Transactions",
    "partition_of",
]

_log = logging.getLogger("sdpatterns")

Transactions: TypeAlias = Callable[[], AbstractAsyncContextManager[Any] | AbstractContextManager[Any]]
"""Begins a transaction that commits at the end of its block, such as `async_sessionmaker(...).begin`."""

_PAUSE_FIRST_S = 0.05
_PARKED_MAX = 100
SPACE = Space("projections", PROJECTIONS)


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


def partition_of(stream: str, partitions: int) -> int:
    """The partition of a stream: the same in each process and release."""
    return zlib.crc32(stream.encode()) % partitions


@dataclasses.dataclass(frozen=True, kw_only=True)
class PartitionSettings:
    """What the partitions of a projection have in common, checked by it."""

    name: str
    version: int
    runner: str
    store: EventStore
    apply: Apply
    backend: ProjectionBackend
    transactions: Transactions | None
    partitions: int
    batch: int
    attempts_max: int
    retry_s: float
    lease_s: float
    poll_s: float


class Partition:
    """Holds its cell, applies events of its streams, and moves its position.

    `begin` is called before each step. `published` is called where it has nothing to do, with the head of the log and
    what it holds.
    """

    def __init__(
        self,
        settings: PartitionSettings,
        number: int,
        key: str,
        begin: Callable[[], Awaitable[None]],
        published: Callable[[int, HeldProjection], Awaitable[None]],
    ) -> None:
        self.key = key
        self.topic = f"projection/{key}"
        self.lag: ProjectionLag | None = None
        self._settings = settings
        self._number = number
        self._begin = begin
        self._published = published
        self._cells: Cells[Any] = settings.backend.states.cells(SPACE)
        self._held_s = float("-inf")
        self._is_mine = False

    async def serve(self, wake: Waiter, is_stopping: Callable[[], bool]) -> None:
        """Apply events until it is told to stop, then leave the partition to another runner."""
        pause_s, poll_s, name = _PAUSE_FIRST_S, self._settings.poll_s, self._settings.name
        while not is_stopping():
            try:
                found = await self.step()
            except BackendError as error:
                if pause_s == _PAUSE_FIRST_S:
                    _log.warning("projection %r waits for its store: %s", name, error)
                await wake.wait(pause_s)
                pause_s = min(2 * pause_s, poll_s)
                continue
            pause_s = _PAUSE_FIRST_S
            if found is None:
                await wake.wait(poll_s)
        self.lag = None
        try:
            await self._release()
        except BackendError:
            # Its lease ends by itself.
            _log.info("projection %r was not released", name)

    async def step(self) -> int | None:
        """Apply one page, or try parked streams again; how many events, None where there is nothing to do now."""
        await self._begin()
        held = await self.hold()
        if not held.is_mine:
            self.lag = None
            return None
        again = await self._try_parked(held)
        if again is not None:
            return again
        if len(held.state.parked) >= _PARKED_MAX:
            return None
        settings = self._settings
        page = await settings.store.log.read_all(held.state.position, settings.batch)
        self.lag = ProjectionLag(held.state.position, page.head)
        if not page.events and page.position == held.state.position:
            await self._published(page.head, held)
            return None
        events = [it for it in page.events if self._is_here(it.stream) and it.stream not in held.state.parked]
        return await self._page(held, events, page.position, page.head)

    def _is_here(self, stream: str) -> bool:
        partitions = self._settings.partitions
        return partitions == 1 or partition_of(stream, partitions) == self._number

    async def hold(self) -> HeldProjection:
        """Take the partition, or keep it, where no other runner has it."""
        asked_s = clock.SYSTEM.monotonic()
        hold = HoldProjection(self._settings.runner, self._settings.lease_s)
        held: HeldProjection = await self._cells.transact(self.key, hold)
        self._held_s, self._is_mine = asked_s, held.is_mine
        return held

    async def _release(self) -> None:
        await self._cells.transact(self.key, ReleaseProjection(self._settings.runner, self.topic))

    async def _page(self, held: HeldProjection, events: Sequence[RecordedEvent], to: int, head: int) -> int | None:
        """Apply events and move to `to`; only to the first that fails, whose stream is parked with the same move."""
        count, parked, is_newer = len(events), dict[str, ParkedStream | None](), False
        while True:
            try:
                done = await self.commit(held, events, to, parked)
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
                events = [] if self._settings.transactions is None else before
        if done:
            self.lag = ProjectionLag(to, head)
        if done and LISTENERS:
            name, version = self._settings.name, self._settings.version
            tell(ProjectionAdvanced(
                name=name, version=version, events=count, position=to, lag=self.lag.positions if self.lag else 0
            ))  # fmt: skip
        if is_newer:
            # A runner of the newer release has to go on from here.
            await self._release()
            return None
        return count if done else 0

    async def _try_parked(self, held: HeldProjection) -> int | None:
        """One event of a stream that is due again."""
        for stream, parked in held.state.parked.items():
            if parked.due_us is None or parked.due_us > held.now_us:
                continue
            try:
                page = await self._settings.store.log.read(stream, parked.version - 1, 1)
            except EventsTrimmed as error:
                gone = parked._replace(due_us=None, reason=str(error))
                await self.commit(held, [], held.state.position, {stream: gone})
                return 0
            events = [it for it in page.events if it.position <= held.state.position]
            after = {stream: parked._replace(version=parked.version + 1, attempts=0) if events else None}
            try:
                await self.commit(held, events, held.state.position, after)
            except EventNotApplied as failed:
                after = self._park(failed.recorded, parked.attempts, held.now_us, failed.error)
                await self.commit(held, [], held.state.position, after)
                return 0
            return len(events)
        return None

    def _park(
        self, recorded: RecordedEvent, attempts: int, now_us: int, error: Exception
    ) -> dict[str, ParkedStream | None]:
        attempts += 1
        reason = f"{type(error).__name__}: {error}"[:500]
        wait_us = round(self._settings.retry_s * 1_000_000) << min(attempts - 1, 10)
        due_us = now_us + wait_us if attempts < self._settings.attempts_max else None
        if LISTENERS:
            name, version = self._settings.name, self._settings.version
            tell(StreamParked(name=name, version=version, stream=recorded.stream, attempts=attempts, reason=reason))
        return {recorded.stream: ParkedStream(recorded.version, attempts, due_us, reason)}

    async def commit(
        self,
        held: HeldProjection,
        events: Sequence[RecordedEvent],
        to: int,
        parked: Mapping[str, ParkedStream | None] | None = None,
    ) -> bool:
        """Apply the events and move the position; False where another runner has taken the projection over."""
        settings = self._settings
        move = MoveProjection(settings.runner, held.state.position, to, parked or {}, self.topic)
        try:
            if settings.transactions is None or not events:
                await applied(settings.store, events, settings.apply, self._still_mine)
                return bool(await self._cells.transact(self.key, move))
            async with _entered(settings.transactions) as session:
                # First, because it locks the row: another runner waits then, and its work is not done for nothing.
                await self._moved(move, session)
                await applied(settings.store, events, partial(_with_session, settings.apply, session))
        except StepRefused:
            return False
        except (EventNotApplied, BackendError):
            raise
        except Exception as error:
            # What the transaction itself raises; it may have been committed. The position tells.
            raise OutcomeUnknown(f"the transaction of projection {settings.name!r} failed: {error}") from error
        return True

    async def _moved(self, move: MoveProjection, session: Any) -> None:
        backend: Any = self._settings.backend
        # It has `within`, which was asked for when the projection was built.
        view: HasStates = backend.within(session)
        if not await view.states.cells(SPACE).transact(self.key, move):
            raise StepRefused

    async def _still_mine(self) -> None:
        """Between two events that are not in a transaction: keep the lease. Raises `StepRefused` if it is lost."""
        if clock.SYSTEM.monotonic() - self._held_s > self._settings.lease_s / 3:
            await self.hold()
            if not self._is_mine:
                raise StepRefused


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
