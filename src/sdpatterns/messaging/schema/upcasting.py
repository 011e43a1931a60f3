"""The chain from the version in which an event was stored to today's. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sdpatterns.core.judging import at_once
from sdpatterns.errors import CodecError, UnknownVersion
from sdpatterns.messaging.schema.config import EventPart, EventType

__all__ = ["upcasted"]

_STEPS_MAX = 1000


def upcasted(types: Mapping[str, EventType], stored: EventPart) -> list[tuple[EventType, dict[str, Any]]]:
    """The events of today that a stored one stands for, in order; mostly one. `types` has earlier names too."""
    found: list[tuple[EventType, dict[str, Any]]] = []
    todo = [stored]
    steps = 0
    while todo:
        part = todo.pop()
        kind = _known(types, part)
        if part.version == kind.version:
            found.append((kind, part.data))
            continue
        steps += 1
        if steps > _STEPS_MAX:
            raise CodecError(f"the upcasters of event {stored.type!r} make events of each other without end")
        # In front of what is still to do, so that the order of the parts stays.
        todo += reversed(_next(kind, part))
    return found


def _known(types: Mapping[str, EventType], part: EventPart) -> EventType:
    kind = types.get(part.type)
    if kind is None:
        raise UnknownVersion(f"event type {part.type!r} is not known to this release")
    if part.version > kind.version:
        raise UnknownVersion(f"event {part.type!r} has version {part.version}; this release knows {kind.version}")
    if part.version < kind.since:
        raise CodecError(f"event {part.type!r} has version {part.version}; this release reads {kind.since} and later")
    return kind


def _next(kind: EventType, part: EventPart) -> list[EventPart]:
    upcaster: Callable[[dict[str, Any]], Any] = kind.upcasters[part.version]
    try:
        # A copy, because an upcaster may change what it is given, and a caller may read the same data again.
        made = at_once("upcasters", upcaster, upcaster(dict(part.data)))
    except Exception as cause:
        # Whatever a function of the user's raises: the event cannot be read.
        raise CodecError(
            f"the upcaster of event {part.type!r} from version {part.version} failed: {type(cause).__name__}: {cause}"
        ) from cause
    if isinstance(made, dict):
        return [EventPart(kind.name, part.version + 1, made)]
    if not isinstance(made, (list, tuple)) or not all(isinstance(it, EventPart) for it in made):
        raise CodecError(f"the upcaster of event {part.type!r} from version {part.version} gave {made!r:.60}")
    return list(made)
