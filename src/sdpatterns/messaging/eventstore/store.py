"""An event store: typed events in the streams of a log, and aggregates that decide on them."""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

from sdpatterns.core.carried import CORRELATION, carried
from sdpatterns.core.cipher import SubjectCipher
from sdpatterns.core.judging import callable_of, plain
from sdpatterns.core.keys import check_name, join_key
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.core.ranges import whole
from sdpatterns.core.runtime import Runtime
from sdpatterns.core.undivided import Undivided
from sdpatterns.errors import CodecError, EventsTrimmed, OutcomeUnknown
from sdpatterns.messaging.eventstore.aggregate import Aggregate, AggregateState, CommandResult
from sdpatterns.messaging.eventstore.events import (
    CAUSATION,
    SCHEMA_VERSION,
    TENANT,
    EventPage,
    StoredEvent,
    StreamHistory,
)
from sdpatterns.messaging.eventstore.notices import EventsAppended
from sdpatterns.messaging.eventstore.personal import opened, sealed
from sdpatterns.messaging.eventstore.rehydration import Rehydration
from sdpatterns.messaging.eventstore.snapshots import SNAPSHOTS
from sdpatterns.messaging.eventstore.subscription import EventSubscription
from sdpatterns.messaging.schema import EventPart, EventSchema
from sdpatterns.messaging.schema.schema import DATA
from sdpatterns.ports.backend import HasLogs, HasStates
from sdpatterns.ports.conflicts import until_it_is_written
from sdpatterns.ports.log import LIMIT, Appended, EventLog, Expected, LogSettings, NewEvent, RecordedEvent
from sdpatterns.ports.states import Space

__all__ = ["ArchiveHook", "EventStore", "EventStoreBackend"]

S = TypeVar("S")
C = TypeVar("C")
E = TypeVar("E")

ArchiveHook: TypeAlias = Callable[[Sequence[RecordedEvent]], Awaitable[None] | None]
"""Gets events before they are dropped, as they are stored. May be async."""

_PAGE = 1_000
_REPLIES_MAX = 4


def _random_id() -> str:
    return os.urandom(16).hex()


class EventStoreBackend(HasLogs, HasStates, Protocol):
    """What an event store needs: a log, and cells for its snapshots."""


class EventStore(Undivided):
    """Keeps what happened as typed events, and lets aggregates decide: `await store.run(orders, "o-1", Pay(5))`.

    ```
    run   load (snapshot + later events) --> decide(state, command) --> append at the version that was loaded
            ^                                                                |
            +------------------- another command came first <---------------+
    ```

    **Keeps**: a command decides on all events of its stream, because its own are appended only if no others came
    between. All events of a command are stored, or none. Every way to read (`load`, `read_all`, `subscribe`, `run`)
    gives events of the newest version of their type. The key of a subject that is gone makes its personal fields
    unreadable in events and in snapshots, and nothing else.
    **May fail** with what `decide` raises; `VersionConflict` after `attempts_max` attempts or when the deadline is
    near; `CodecError` for an event that cannot be read; `EventsTrimmed`; `BackendError`. `OutcomeUnknown` where the
    reply to an append was lost: repeat it with the same `ids`. `run` does so by itself.
    **Costs** for a command one read of the stream behind the snapshot, and one append; with snapshots one read more,
    and one step in `snapshot_every` events.

    Source: Young, "CQRS Documents" (2010); Chassaing, "Functional event sourcing: decider" (2021).
    """

    _elsewhere = "build it there, at import time, with the same backend"

    def __init__(
        self,
        name: str,
        *,
        backend: EventStoreBackend,
        schema: EventSchema,
        cipher: SubjectCipher | None = None,
        settings: LogSettings | None = None,
        attempts_max: int = 50,
        ids: Callable[[], str] = _random_id,
    ) -> None:
        self.name = check_name("EventStore", name)
        if not callable(getattr(backend, "log", None)):
            raise TypeError(f"an event store needs a backend with logs, and {type(backend).__name__} has none")
        self._personal = {it.name: it for it in schema.types if it.personal}
        if self._personal and cipher is None:
            raise ValueError(
                f"EventStore {name!r} needs a cipher for the personal fields of {', '.join(self._personal)}"
            )
        self.schema = schema
        self._settings = settings or LogSettings()
        self.log: EventLog = backend.log(name, self._settings)
        self._cipher = cipher
        self._attempts_max = whole("attempts_max", attempts_max, 1)
        self._ids = plain("ids", ids)
        snapshots = backend.states.cells(Space(join_key("eventstore", name, "snapshots"), SNAPSHOTS, overflow="refuse"))
        self._rehydration = Rehydration(self.name, self.load, snapshots, cipher)

    @property
    def runtime(self) -> Runtime | None:
        """The runtime that the log needs."""
        return self.log.runtime

    async def append(
        self,
        stream: str,
        expected: Expected,
        events: Sequence[object],
        *,
        tenant: str = "",
        caused_by: StoredEvent | None = None,
        metadata: Mapping[str, str] | None = None,
        ids: Sequence[str] | None = None,
        within: HasLogs | None = None,
    ) -> Appended:
        """Add events to a stream that has the version `expected`; 0 where it must be new, `ANY` where it matters not.

        They carry the trace and the correlation id of the caller, or of the event that they are `caused_by`; and its
        tenant. With `ids`, one for each event, an append that may have happened is safe to repeat. In the caller's
        transaction with `within=backend.within(session)`. Raises `VersionConflict`.
        """
        about = _about(tenant, caused_by, metadata)
        new = await self._new(events, about, ids)
        log = self.log if within is None else within.log(self.name, self._settings)
        return await log.append(stream, expected, new.events)

    async def load(self, stream: str, after: int = 0) -> StreamHistory:
        """All events of a stream behind the version `after`."""
        return await self._loaded(self.log, stream, after)

    async def _loaded(self, log: EventLog, stream: str, after: int) -> StreamHistory:
        events: list[StoredEvent] = []
        while True:
            page = await log.read(stream, after, _PAGE)
            events += await self.read_recorded(page.events)
            if not page.events or page.events[-1].version >= page.version:
                return StreamHistory(events, page.version)
            after = page.events[-1].version

    async def read_all(self, after: int = 0, limit: int = LIMIT) -> EventPage:
        """Events of all streams behind the position `after`; `limit` counts stored ones, before they are upcast."""
        page = await self.log.read_all(after, limit)
        return EventPage(await self.read_recorded(page.events), *page[1:])

    def subscribe(self, after: int = 0) -> EventSubscription:
        """Events of all streams behind the position `after`, and then those that are appended, without end."""
        return EventSubscription(self.log.subscribe(after), self.read_recorded)

    async def read_recorded(self, recorded: Sequence[RecordedEvent]) -> list[StoredEvent]:
        """Events of the log as those of the newest version: the one way that all readers take. Raises `CodecError`."""
        return [stored for it in recorded for stored in await self._stored(it)]

    async def state(self, aggregate: Aggregate[S, C, E], key: str) -> AggregateState[S]:
        """The state of the aggregate with that key."""
        found = await self._rehydration.of(aggregate, aggregate.stream(key))
        return AggregateState(found.state, found.version, found.position)

    async def run(
        self,
        aggregate: Aggregate[S, C, E],
        key: str,
        command: C,
        *,
        tenant: str = "",
        caused_by: StoredEvent | None = None,
        metadata: Mapping[str, str] | None = None,
        within: HasLogs | None = None,
    ) -> CommandResult[S, E]:
        """Let the aggregate decide on a command, again where another one came first. Raises what `decide` raises.

        With `within=backend.within(session)` its events are part of the caller's transaction, in which it decides once:
        `VersionConflict` where another one came first. Begin the transaction again then. It keeps no snapshot.
        """
        stream, about, attempts = aggregate.stream(key), _about(tenant, caused_by, metadata), 0
        if within is not None:
            return await self._run_within(within.log(self.name, self._settings), aggregate, stream, command, about)

        async def attempt() -> CommandResult[S, E]:
            nonlocal attempts
            attempts += 1
            found = await self._rehydration.of(aggregate, stream)
            events = tuple(aggregate.decide(found.state, command))
            if not events:
                return CommandResult(found.state, (), found.version, found.position)
            new = await self._new(events, about, None)
            # The log knows these events by their ids, so that a second append answers as the first one.
            appended = await until_it_is_written(
                lambda: self.log.append(stream, found.version, new.events), _REPLIES_MAX, on=OutcomeUnknown
            )
            state = found.state
            for event in events:
                state = aggregate.evolve(state, event)
            await self._rehydration.keep(
                aggregate, stream, found, state, appended, events=len(events), subjects=new.subjects
            )
            return CommandResult(state, events, appended.version, appended.position)

        decided = await until_it_is_written(attempt, self._attempts_max)
        if LISTENERS and decided.events:
            count = len(decided.events)
            tell(EventsAppended(
                name=self.name, aggregate=aggregate.name, stream=stream, events=count, attempts=attempts
            ))  # fmt: skip
        return decided

    async def _run_within(
        self, log: EventLog, aggregate: Aggregate[S, C, E], stream: str, command: C, about: dict[str, str]
    ) -> CommandResult[S, E]:
        found = await self._rehydration.of(aggregate, stream, partial(self._loaded, log))
        state, events = found.state, tuple(aggregate.decide(found.state, command))
        if not events:
            return CommandResult(state, (), found.version, found.position)
        appended = await log.append(stream, found.version, (await self._new(events, about, None)).events)
        for event in events:
            state = aggregate.evolve(state, event)
        return CommandResult(state, events, appended.version, appended.position)

    async def archive(self, stream: str, before: int, *, to: ArchiveHook | None = None) -> int:
        """Drop the events of a stream below the version `before`, once `to` has them; how many were dropped.

        The stream keeps its version. An aggregate needs a snapshot at `before - 1` or later, else it cannot be loaded.
        """
        after = 0
        while to is not None:
            try:
                page = await self.log.read(stream, after, _PAGE)
            except EventsTrimmed as error:
                # It was archived before, up to there.
                after = error.trimmed
                continue
            gone = [event for event in page.events if event.version < before]
            if not gone:
                break
            await _handed(to, gone)
            after = gone[-1].version
        return await self.log.trim_stream(stream, before)

    async def trim(self, before: int, *, to: ArchiveHook | None = None) -> int:
        """Drop all events below the position `before`, once `to` has them; how many were dropped."""
        after = (await self.log.head()).trimmed
        while to is not None:
            page = await self.log.read_all(after, _PAGE)
            gone = [event for event in page.events if event.position < before]
            if gone:
                await _handed(to, gone)
            after = page.position
            if not page.is_more or after >= before:
                break
        return await self.log.trim(before)

    async def _new(self, events: Sequence[object], about: dict[str, str], ids: Sequence[str] | None) -> _Written:
        if ids is not None and len(ids) != len(events):
            raise ValueError(f"ids must have one for each of {len(events)} events, got {len(ids)}")
        new: list[NewEvent] = []
        subjects: set[str] = set()
        # Events of one version share their metadata, so that a log may write them once.
        shared: dict[int, dict[str, str]] = {}
        for place, event in enumerate(events):
            name, version, data = self.schema.dump(event)
            if name in self._personal:
                data, subject = await sealed(self._cipher, self._personal[name], data)
                subjects |= set() if subject is None else {subject}
            metadata = shared.get(version)
            if metadata is None:
                metadata = shared[version] = {**about, SCHEMA_VERSION: str(version)}
            new_id = self._ids() if ids is None else ids[place]
            new.append(NewEvent(id=new_id, type=name, data=DATA.encode(data), metadata=metadata))
        return _Written(new, frozenset(subjects))

    async def _stored(self, it: RecordedEvent) -> list[StoredEvent]:
        data = DATA.decode(it.data)
        version = it.metadata.get(SCHEMA_VERSION, "")
        if not isinstance(data, dict) or not version.isdecimal():
            raise CodecError(f"event {it.id!r} of stream {it.stream!r} was not written by an event store")
        found = await opened(self._cipher, self.schema.find(it.type), data)
        place = (it.stream, it.version, it.position, it.id, it.metadata, it.recorded_us)
        events = self.schema.load(EventPart(it.type, int(version), found.data))
        return [StoredEvent(event, *place, found.subject, found.is_shredded) for event in events]

    def __repr__(self) -> str:
        return f"<EventStore {self.name!r}>"


class _Written(NamedTuple):
    """Events for the log, and whose personal data they have."""

    events: list[NewEvent]
    subjects: frozenset[str]


async def _handed(to: ArchiveHook, events: Sequence[RecordedEvent]) -> None:
    answer = callable_of("to", to)(events)
    if inspect.isawaitable(answer):
        await answer


def _about(tenant: str, caused_by: StoredEvent | None, metadata: Mapping[str, str] | None) -> dict[str, str]:
    """The metadata of events that are written now."""
    about = {**carried(), **(metadata or {})}
    if caused_by is not None:
        about[CAUSATION] = caused_by.id
        about.setdefault(CORRELATION, caused_by.correlation_id or caused_by.id)
        tenant = tenant or caused_by.tenant
    if tenant:
        about[TENANT] = tenant
    return about
