"""How an event stands in a message: a line of JSON with all but its data, then the data."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from sdpatterns.backends.nats.stored import Stored, instant_us
from sdpatterns.core.codec import compact_json
from sdpatterns.errors import CodecError
from sdpatterns.ports.log import NewEvent, RecordedEvent

__all__ = ["BEGIN", "Dropped", "EventPlace", "dropped_in", "event_in", "is_event", "mark_of", "packed", "place_in"]

EVENT, MARK = ".e", ".m"
"""How the subjects of a stream end."""


class EventPlace(NamedTuple):
    """A version of a stream and its position. Where it `is_mark`, the stream has no event up to there."""

    version: int
    position: int
    is_mark: bool = False


BEGIN = EventPlace(0, 0)


class Dropped(NamedTuple):
    """The greatest position of a `trim`, and of a `trim_stream`. `sequence` is that of the message that says so."""

    trimmed: int = 0
    thinned: int = 0
    sequence: int = 0


def packed(stream: str, version: int, event: NewEvent, shift_us: int) -> bytes:
    """The message of an event. The version first, as in a mark."""
    line = [version, stream, event.id, event.type, shift_us, dict(event.metadata)]
    return compact_json(line).encode() + b"\n" + event.data


def mark_of(*numbers: int) -> bytes:
    """The message that says a version, or what was dropped."""
    return json.dumps(numbers).encode() + b"\n"


def _line(message: Stored) -> tuple[list[Any], bytes]:
    line, end, data = message.data.partition(b"\n")
    try:
        words = json.loads(line) if end else None
    except ValueError:
        words = None
    if not isinstance(words, list):
        raise CodecError(f"not a message of this log, at position {message.sequence}: {message.data[:40]!r}")
    return words, data


def is_event(message: Stored) -> bool:
    """Whether it is one, and no mark."""
    return message.subject.endswith(EVENT)


def event_in(message: Stored) -> RecordedEvent:
    """The event of a message."""
    (version, stream, name, kind, shift_us, metadata), data = _line(message)
    recorded_us = instant_us(message.recorded) + shift_us
    return RecordedEvent(stream, version, message.sequence, name, kind, data, metadata, recorded_us)


def place_in(message: Stored | None) -> EventPlace:
    """Which version of its stream the message is or marks."""
    if message is None:
        return BEGIN
    return EventPlace(_line(message)[0][0], message.sequence, not is_event(message))


def dropped_in(message: Stored | None) -> Dropped:
    """What a log's own mark says."""
    if message is None:
        return Dropped()
    trimmed, thinned = _line(message)[0]
    return Dropped(trimmed, thinned, message.sequence)
