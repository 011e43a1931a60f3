"""The state of an aggregate from its snapshot and its later events."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from sdpatterns.core.cipher import SubjectCipher
from sdpatterns.core.keys import join_key
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.errors import BackendError
from sdpatterns.messaging.eventstore.aggregate import Aggregate
from sdpatterns.messaging.eventstore.events import StreamHistory
from sdpatterns.messaging.eventstore.notices import SnapshotNotKept
from sdpatterns.messaging.eventstore.personal import unsealed_bytes
from sdpatterns.messaging.eventstore.snapshots import KeepSnapshot, SnapshotRecord
from sdpatterns.ports.log import Appended
from sdpatterns.ports.states import Cells

__all__ = ["Rehydrated", "Rehydration"]


class Rehydrated(NamedTuple):
    """A state with its place; how many events were read for it, and whose personal data may be in it."""

    state: Any
    version: int
    position: int
    events: int
    subjects: frozenset[str]
    is_shredded: bool


class Rehydration:
    """Reads states, and keeps snapshots of them.

    **Keeps**: a snapshot that is of another version, unreadable, or ahead of its stream is not used. One with personal
    data is encrypted with the key of its subject; a state with the data of several subjects, or of one whose key is
    gone, gets none, because no one key would make it unreadable.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[str, int], Awaitable[StreamHistory]],
        cells: Cells[SnapshotRecord],
        cipher: SubjectCipher | None,
    ) -> None:
        self._name = name
        self._load = load
        self._cells = cells
        self._cipher = cipher

    async def of(
        self,
        aggregate: Aggregate[Any, Any, Any],
        stream: str,
        load: Callable[[str, int], Awaitable[StreamHistory]] | None = None,
    ) -> Rehydrated:
        """The state of the stream now, with events from `load` where that is given: of the caller's transaction."""
        load = load or self._load
        begin = Rehydrated(aggregate.initial, 0, 0, 0, frozenset(), is_shredded=False)
        kept = None if aggregate.snapshot_every is None else await self._kept(aggregate, stream)
        history = await load(stream, 0 if kept is None else kept.version)
        if kept is not None and history.version < kept.version:
            # The log was restored to an earlier moment: what the snapshot knows of has not happened.
            kept, history = None, await load(stream, 0)
        state, _, position, _, subjects, is_shredded = kept or begin
        for it in history.events:
            state = aggregate.evolve(state, it.event)
            position = it.position
            is_shredded = is_shredded or it.is_shredded
        subjects |= {it.subject for it in history.events if it.subject is not None}
        return Rehydrated(state, history.version, position, len(history.events), subjects, is_shredded)

    async def keep(
        self,
        aggregate: Aggregate[Any, Any, Any],
        stream: str,
        found: Rehydrated,
        state: Any,
        appended: Appended,
        *,
        events: int,
        subjects: frozenset[str],
    ) -> None:
        """Keep a snapshot if it is time for one. Raises nothing that a store raises."""
        every, subjects = aggregate.snapshot_every, found.subjects | subjects
        if every is None or found.events + events < every or len(subjects) > 1 or found.is_shredded:
            return
        try:
            subject, data = next(iter(subjects), None), aggregate.state_codec.encode(state)
            if subject is not None:
                assert self._cipher is not None
                secret: Any = self._cipher.encrypt(subject, data)
                data = await secret if inspect.isawaitable(secret) else secret
            record = SnapshotRecord(appended.version, appended.position, subject, data)
            await self._cells.transact(_key(aggregate, stream), KeepSnapshot(record))
        except BackendError as error:
            self._tell(aggregate, stream, error)

    async def _kept(self, aggregate: Aggregate[Any, Any, Any], stream: str) -> Rehydrated | None:
        try:
            record = await self._cells.read(_key(aggregate, stream))
            data = None if record is None else record.state
            if record is not None and record.subject is not None:
                data = None if self._cipher is None else await unsealed_bytes(
                    self._cipher, record.subject, record.state
                )  # fmt: skip
            if record is None or data is None:
                return None
            state = aggregate.state_codec.decode(data)
        except Exception as error:  # noqa: BLE001 - whatever a state's class raises, the events are there
            self._tell(aggregate, stream, error)
            return None
        subjects = frozenset[str]() if record.subject is None else frozenset({record.subject})
        return Rehydrated(state, record.version, record.position, 0, subjects, is_shredded=False)

    def _tell(self, aggregate: Aggregate[Any, Any, Any], stream: str, error: Exception) -> None:
        if LISTENERS:
            reason = f"{type(error).__name__}: {error}"
            tell(SnapshotNotKept(name=self._name, aggregate=aggregate.name, stream=stream, reason=reason))


def _key(aggregate: Aggregate[Any, Any, Any], stream: str) -> str:
    """One cell for each form of the state, so that two releases side by side do not undo each other's snapshots."""
    return join_key(str(aggregate.snapshot_version), stream)
