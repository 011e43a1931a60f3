"""The EventLog of this process: one list of all events, and one for each stream."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter

from sdpatterns.backends.memory.signals import MemorySignals
from sdpatterns.core.clock import SYSTEM, Clock
from sdpatterns.core.forks import new_lock
from sdpatterns.core.runtime import Runtime
from sdpatterns.errors import BackendFull, EventsTrimmed, VersionConflict
from sdpatterns.ports.log import (
    ANY,
    LIMIT,
    Appended,
    Expected,
    LogHead,
    LogPage,
    LogSettings,
    NewEvent,
    RecordedEvent,
    StreamPage,
    check_append,
    check_read,
    log_topic_of,
)
from sdpatterns.ports.log_subscription import LogSubscription

__all__ = ["MemoryLog"]

_TRIMMED_AT_ONCE = 10_000
_position_of = attrgetter("position")


class _Stream:
    """The events of one stream that are kept: those behind version `trimmed`."""

    __slots__ = ("events", "trimmed")

    def __init__(self) -> None:
        self.events: list[RecordedEvent] = []
        self.trimmed = 0

    @property
    def version(self) -> int:
        return self.trimmed + len(self.events)

    def drop(self, upto: int) -> list[RecordedEvent]:
        """Forget the versions up to this one; what they were."""
        count = max(0, min(upto - self.trimmed, len(self.events)))
        dropped = self.events[:count]
        del self.events[:count]
        self.trimmed += count
        return dropped


class MemoryLog:
    """Keeps events in the memory of this process, for all its threads and loops: see `EventLog`.

    Nothing survives the process. One plain lock is held for one call and never across an await. Raises `BackendFull`
    beyond `events_max`; a stream without events counts as one. Positions have no gaps.

    Costs: no call suspends. About 400 bytes an event beside its data.
    """

    runtime: Runtime | None = None

    def __init__(self, name: str, settings: LogSettings, *, clock: Clock = SYSTEM, signals: MemorySignals) -> None:
        self.name = name
        self.topic = log_topic_of(name)
        self.settings = settings
        self._clock = clock
        self._signals = signals
        self._lock = new_lock()
        self._last_us = 0
        self._position = 0
        self._trimmed = 0
        self._thinned = 0
        self._all: list[RecordedEvent] = []
        self._streams: dict[str, _Stream] = {}
        self._empty = 0

    async def append(self, stream: str, expected: Expected, events: Sequence[NewEvent], /) -> Appended:
        check_append(stream, expected, events, self.settings)
        with self._lock:
            known = self._streams.get(stream)
            found = 0 if known is None else known.version
            if expected is not ANY and expected != found:
                return self._appended_before(stream, expected, found, events)
            self._make_room(len(events))
            if known is None:
                known = self._streams[stream] = _Stream()
            # A stream without events counts as one event against `events_max`; now it has some again.
            elif not known.events:
                self._empty -= 1
            now_us = self._last_us = max(self._last_us, self._clock.now_us())
            first = self._position + 1
            recorded = [
                RecordedEvent(
                    stream,
                    found + place,
                    self._position + place,
                    new.id,
                    new.type,
                    new.data,
                    dict(new.metadata),
                    now_us,
                )
                for place, new in enumerate(events, 1)
            ]
            self._position = first + len(recorded) - 1
            known.events += recorded
            self._all += recorded
        # Outside of the lock: waking runs code of the subscribers' runtimes.
        self._signals.wake((self.topic,))
        return Appended(recorded[-1].version, recorded[-1].position)

    async def read(self, stream: str, /, after: int = 0, limit: int = LIMIT, *, backwards: bool = False) -> StreamPage:
        check_read(after, limit)
        with self._lock:
            known = self._streams.get(stream)
            if known is None:
                return StreamPage((), 0)
            begin, version = known.trimmed, known.version
            if backwards:
                end = max(0, (min(after - 1, version) if after else version) - begin)
                return StreamPage(known.events[max(0, end - limit) : end][::-1], version)
            if after < begin:
                raise EventsTrimmed(self.name, stream, after, begin)
            return StreamPage(known.events[after - begin : after - begin + limit], version)

    async def read_all(self, after: int = 0, limit: int = LIMIT, /) -> LogPage:
        check_read(after, limit)
        with self._lock:
            if after < self._trimmed:
                raise EventsTrimmed(self.name, "", after, self._trimmed)
            place = self._place(after)
            events = self._all[place : place + limit]
            # At the end of the log the position is that of the log, because events in between may have been trimmed.
            is_more = place + limit < len(self._all)
            position = events[-1].position if is_more else max(after, self._position)
            return LogPage(events, position, self._position, is_more, None, self._thinned)

    async def head(self) -> LogHead:
        with self._lock:
            return LogHead(self._position, self._trimmed, self._thinned)

    async def trim(self, before: int, /) -> int:
        check_read(before, 1)
        dropped, is_more = 0, True
        while is_more:
            # Others have their turn between two parts.
            with self._lock:
                self._trimmed = max(self._trimmed, min(before - 1, self._position))
                gone = self._all[: min(_TRIMMED_AT_ONCE, self._place(self._trimmed))]
                del self._all[: len(gone)]
                for event in gone:
                    self._drop(event.stream, event.version)
            dropped += len(gone)
            is_more = len(gone) == _TRIMMED_AT_ONCE
        return dropped

    async def trim_stream(self, stream: str, before: int, /) -> int:
        check_read(before, 1)
        with self._lock:
            gone = self._drop(stream, before - 1)
            if gone:
                self._thinned = max(self._thinned, gone[-1].position)
                names = {event.position for event in gone}
                begin, end = self._place(gone[0].position - 1), self._place(gone[-1].position)
                self._all[begin:end] = [each for each in self._all[begin:end] if each.position not in names]
        return len(gone)

    def subscribe(self, after: int = 0, /) -> LogSubscription:
        return LogSubscription(self, self._signals, after)

    # What follows runs under the lock.

    def _place(self, position: int) -> int:
        """Where the first event behind a position stands in the list of all."""
        return bisect_right(self._all, position, key=_position_of)

    def _drop(self, stream: str, upto: int) -> list[RecordedEvent]:
        known = self._streams.get(stream)
        if known is None or not known.events:
            return []
        gone = known.drop(upto)
        self._empty += not known.events
        return gone

    def _make_room(self, count: int) -> None:
        held, most = len(self._all) + self._empty, self.settings.events_max
        if held + count > most:
            raise BackendFull(f"the log {self.name!r} holds {held} events, its bound is {most}")

    def _appended_before(self, stream: str, expected: int, found: int, events: Sequence[NewEvent]) -> Appended:
        """The answer to an append that happened already, which its events' ids tell; else a conflict."""
        known = self._streams.get(stream)
        if known is not None and known.trimmed <= expected < found:
            begin = expected - known.trimmed
            there = known.events[begin : begin + len(events)]
            # All ids, not the first alone: another append may begin with the same event.
            if [each.id for each in there] == [each.id for each in events]:
                return Appended(there[-1].version, there[-1].position)
        raise VersionConflict(self.name, stream, expected, found)
