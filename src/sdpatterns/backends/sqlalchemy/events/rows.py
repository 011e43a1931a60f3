"""What the rows of events hold, and how they become what callers see."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sdpatterns.backends.sqlalchemy.engine.texts import given_text, stored_text
from sdpatterns.core.codec import compact_json
from sdpatterns.ports.log import ANY, Expected, NewEvent, RecordedEvent

__all__ = [
    "ANY_VERSION",
    "Append",
    "Cut",
    "Dropping",
    "OtherVersion",
    "PageFound",
    "PageOrder",
    "StreamFound",
    "StreamHeld",
    "StreamOrder",
    "append_of",
    "found_in_log",
    "found_in_stream",
    "runs",
]

ANY_VERSION: Final = -1
"""How `ANY` is given to a statement."""


class Append(NamedTuple):
    """Events for one stream, as they are stored."""

    stream: str
    expected: int
    ids: list[str]
    types: list[str]
    data: list[bytes]
    metadata: list[str | None]


class OtherVersion(NamedTuple):
    """The stream has another version, and not because of these events."""

    found: int


class StreamHeld(NamedTuple):
    """Another transaction writes to the stream: nothing happened."""


class StreamOrder(NamedTuple):
    """Which events of a stream are wanted."""

    stream: str
    after: int
    limit: int
    backwards: bool


class StreamFound(NamedTuple):
    """The newest version of a stream, and rows of `found_in_stream`."""

    version: int
    rows: Sequence[Sequence[Any]]


class PageOrder(NamedTuple):
    """Which events of a log are wanted. None behind `upto` is given, where the database needs that."""

    after: int
    upto: int
    limit: int


class PageFound(NamedTuple):
    """Rows of `found_in_log`, which are all up to `upto`, and what is known of the log.

    `safe` is the position up to which all is there, for the next look; `head` the last one given out. `open_us` says
    how long the transaction has been open that is in the way, None where none is.
    """

    rows: Sequence[Sequence[Any]]
    upto: int
    safe: int
    head: int
    trimmed: int
    thinned: int
    open_us: int | None


class Cut(NamedTuple):
    """What is to be dropped: all up to a position, or up to a version of a stream. Answered with what it really is."""

    stream: str | None
    upto: int


class Dropping(NamedTuple):
    """A part of what was marked."""

    stream: str | None
    upto: int
    limit: int


def append_of(stream: str, expected: Expected, events: Sequence[NewEvent]) -> Append:
    """The append as it is stored."""
    return Append(
        stored_text(stream),
        ANY_VERSION if expected is ANY else expected,
        [stored_text(event.id) for event in events],
        [stored_text(event.type) for event in events],
        [event.data for event in events],
        _metadata_texts(events),
    )


def _metadata_texts(events: Sequence[NewEvent]) -> list[str | None]:
    """The metadata as JSON. Events of one append mostly share one mapping, which is written once."""
    texts: list[str | None] = []
    before: Mapping[str, str] | None = None
    text: str | None = None
    for event in events:
        if event.metadata is not before:
            before = event.metadata
            text = compact_json(dict(before)) if before else None
        texts.append(text)
    return texts


def found_in_stream(stream: str, rows: Sequence[Sequence[Any]]) -> list[RecordedEvent]:
    """From version, position, id, type, data, metadata, recorded_us."""
    read = _metadata_reader()
    return [
        RecordedEvent(
            stream, version, position, given_text(name), given_text(kind), bytes(data),
            read(metadata), recorded_us,
        )
        for version, position, name, kind, data, metadata, recorded_us in rows
    ]  # fmt: skip


def found_in_log(rows: Sequence[Sequence[Any]]) -> list[RecordedEvent]:
    """From version, position, id, type, data, metadata, recorded_us, stream."""
    read = _metadata_reader()
    return [
        RecordedEvent(
            given_text(stream), version, position, given_text(name), given_text(kind), bytes(data),
            read(metadata), recorded_us,
        )
        for version, position, name, kind, data, metadata, recorded_us, stream in rows
    ]  # fmt: skip


def _metadata_reader() -> Callable[[str | None], dict[str, str]]:
    """Reads metadata. Neighbours mostly have the same text, which is read once."""
    before: str | None = None
    found: dict[str, str] = {}

    def read(text: str | None) -> dict[str, str]:
        nonlocal before, found
        if text != before:
            before, found = text, json.loads(text) if text else {}
        return found.copy()

    return read


def runs(appends: Sequence[Append]) -> list[list[Append]]:
    """The appends in their order, parted so that no part has a stream twice."""
    parts: list[list[Append]] = [[]]
    names: set[str] = set()
    for each in appends:
        if each.stream in names:
            parts.append([])
            names = set()
        parts[-1].append(each)
        names.add(each.stream)
    return parts
