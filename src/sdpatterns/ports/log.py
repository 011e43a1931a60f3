"""EventLog: events in streams, each stream in the order of its versions, all of them in one order for every reader.

```
append("order-1", 0, [placed, paid]) ----> order-1  | placed 1 | paid 2 |          version, from 1, without gaps
append("order-2", ANY, [placed]) --------> order-2  | placed 1 |
                                           the log  | placed 1 | paid 2 | placed 5 |   position, grows, may have gaps
                                                                        ^
read_all(after=2) ------------------------------------------------------'
```

A version is a fence: of two writers that expect the same version one succeeds, and the other gets
`VersionConflict`. A position is a place in the order of the whole log. It is never given to a later event once a
reader has gone past it, so a reader needs to keep only one number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from sdpatterns.core.keys import check_key
from sdpatterns.core.ranges import whole
from sdpatterns.core.runtime import Runtime
from sdpatterns.ports.log_subscription import LIMIT, LIMIT_MAX, LogSubscription

__all__ = [
    "ANY",
    "LIMIT",
    "LIMIT_MAX",
    "Appended",
    "EventLog",
    "Expected",
    "LogHead",
    "LogPage",
    "LogSettings",
    "NewEvent",
    "RecordedEvent",
    "StreamPage",
    "check_append",
    "check_read",
    "log_topic_of",
]

DATA_BYTES_MAX: Final = 262_144
"""Default bound on the data of one event."""
METADATA_BYTES_MAX: Final = 16_384
"""Bound on the names and values of one event's metadata together."""
EVENTS_AT_ONCE_MAX: Final = 1_000
"""Bound on the events of one append, which are stored together or not at all."""


class _Any(Enum):
    ANY = "any"


ANY: Final = _Any.ANY
"""Append behind whatever is there."""

Expected: TypeAlias = int | Literal[_Any.ANY]
"""The version that a stream must have for an append: 0 where it must not exist, or `ANY`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogSettings:
    """What a pattern says once of its log. Raises `ValueError` for a setting out of range.

    `events_max` bounds the events where this process holds them (memory). `data_bytes_max` bounds each event
    everywhere.
    """

    events_max: int = 1_048_576
    data_bytes_max: int = DATA_BYTES_MAX

    def __post_init__(self) -> None:
        """Check the settings."""
        whole("events_max", self.events_max, 1)
        whole("data_bytes_max", self.data_bytes_max, 1, 16_777_216)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NewEvent:
    """An event to be appended: what happened, as bytes, and of which type it is.

    `id` names the event. An append that is repeated because its reply was lost is recognised by the ids of its
    events, so give each event an id of its own and repeat the very same events. `metadata` are texts, up to
    16,384 bytes of them.

    Raises `ValueError` or TypeError for what no store could keep.
    """

    id: str
    type: str
    data: bytes
    metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what would be wrong on every store."""
        check_key(self.id)
        check_key(self.type)
        if not isinstance(self.data, bytes):
            raise TypeError(f"the data of an event must be bytes, got {type(self.data).__name__}")
        if self.metadata:
            _check_metadata(self.metadata)


class RecordedEvent(NamedTuple):
    """An event as it was appended, with its place.

    `version` counts the events of its stream from 1, without gaps. `position` grows over the whole log.
    `recorded_us` is when it was appended, by the store's clock.
    """

    stream: str
    version: int
    position: int
    id: str
    type: str
    data: bytes
    metadata: Mapping[str, str]
    recorded_us: int


class Appended(NamedTuple):
    """Where the last event of an append stands: its version in the stream and its position in the log."""

    version: int
    position: int


class StreamPage(NamedTuple):
    """Events of one stream, in the order that was asked for, and the newest version of the stream.

    `version` is 0 where the stream does not exist.
    """

    events: Sequence[RecordedEvent]
    version: int


class LogPage(NamedTuple):
    """Events of the whole log in the order of their positions, and how far the reader has come.

    `position` is where the next page begins: no event at or below it is still to come. It may be greater than that
    of the last event, because positions have gaps. `head` is the greatest position that was given out, so
    `head - position` says how far a reader lags. `is_more` says that more can be read at once.

    Where a page stops before events of a transaction that is still open, `held_s` says for how many seconds the oldest
    one has been open, as far as the store tells (else 0), and is None where none is in the way. `thinned` is the
    greatest position that was dropped by a `trim_stream`: a reader that began before it has not seen all events.
    """

    events: Sequence[RecordedEvent]
    position: int
    head: int
    is_more: bool = False
    held_s: float | None = None
    thinned: int = 0


class LogHead(NamedTuple):
    """Where a log ends and begins: `position` is the greatest one given out, `trimmed` the greatest one of a `trim`.

    `thinned` is the greatest position that was dropped by a `trim_stream`.
    """

    position: int
    trimmed: int
    thinned: int


class EventLog(Protocol):
    """One named log of events, in streams.

    **Keeps**: the versions of a stream have no gaps; all events of an append are stored or none; of two appends that
    expect the same version one succeeds; every reader gets the events in the same order, at whatever position it
    begins, and none is skipped: a page ends before an event that may still come.

    **May fail** with `VersionConflict` (nothing happened), `BackendUnavailable` (nothing happened), `OutcomeUnknown`
    (the reply was lost), `BackendFull`, `EventsTrimmed` for a read from a place that is no longer kept, or `ValueError`
    for what no store could keep. An append with a version is safe to call again with the same events: it answers as
    the first time, as long as they are kept. One with `ANY` is not.
    """

    name: str
    runtime: Runtime | None
    topic: str
    """What is notified when events were appended: see `SignalBus`."""

    async def append(self, stream: str, expected: Expected, events: Sequence[NewEvent], /) -> Appended:
        """Add events behind version `expected` of the stream, all or none.

        Raises `VersionConflict` where the stream has another version, unless it has because of these very events.
        """
        ...

    async def read(self, stream: str, /, after: int = 0, limit: int = LIMIT, *, backwards: bool = False) -> StreamPage:
        """Events of a stream behind the version `after`, up to `limit`.

        With `backwards` the newest comes first, and `after` is the version that was read last: 0 to begin at the end.
        Raises `EventsTrimmed` where the event behind `after` is no longer kept; backwards a page just ends there.
        """
        ...

    async def read_all(self, after: int = 0, limit: int = LIMIT, /) -> LogPage:
        """Events of all streams behind the position `after`, up to `limit`.

        Raises `EventsTrimmed` where events behind `after` are no longer kept, because a reader would skip them.
        """
        ...

    async def head(self) -> LogHead:
        """Where the log ends, and where it begins."""
        ...

    async def trim(self, before: int, /) -> int:
        """Drop all events whose position is below `before`; how many. Streams keep their versions.

        What no reader could have read yet is not dropped.
        """
        ...

    async def trim_stream(self, stream: str, before: int, /) -> int:
        """Drop the events of one stream whose version is below `before`; how many. The stream keeps its version."""
        ...

    def subscribe(self, after: int = 0, /) -> LogSubscription:
        """Events behind the position `after`, and then those that are appended, one after another, without end.

        See `LogSubscription`. Opens nothing.
        """
        ...


def log_topic_of(name: str) -> str:
    """The topic of the log `name`."""
    return f"log/{name}"


def check_append(stream: str, expected: Expected, events: Sequence[NewEvent], settings: LogSettings) -> None:
    """Raise `ValueError` or TypeError for an append that no log can make."""
    check_key(stream)
    if expected is not ANY:
        whole("expected", expected, 0)
    if not 1 <= len(events) <= EVENTS_AT_ONCE_MAX:
        raise ValueError(f"an append takes 1 to {EVENTS_AT_ONCE_MAX} events, got {len(events)}")
    most = settings.data_bytes_max
    for event in events:
        if len(event.data) > most:
            raise ValueError(f"the data of event {event.id[:60]!r} must be at most {most} bytes, got {len(event.data)}")


def check_read(after: int, limit: int) -> None:
    """Raise `ValueError` for a page that no log can give."""
    whole("after", after, 0)
    whole("limit", limit, 1, LIMIT_MAX)


def _check_metadata(metadata: Mapping[str, str]) -> None:
    size = 0
    for name, value in metadata.items():
        for text in (name, value):
            if not isinstance(text, str):
                raise TypeError(f"metadata are texts, got {text!r}")
            try:
                size += len(text.encode())
            except UnicodeEncodeError:
                raise ValueError(f"metadata must be text, got half a character in {text[:60]!r}") from None
    if size > METADATA_BYTES_MAX:
        raise ValueError(f"the metadata of an event must be at most {METADATA_BYTES_MAX} bytes, got {size}")
