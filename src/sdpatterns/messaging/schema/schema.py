"""The event types of a program: what every reader and writer of events goes through."""

from __future__ import annotations

from typing import Any

from sdpatterns.core.value_codec import ValueCodec
from sdpatterns.errors import CodecError
from sdpatterns.messaging.schema.config import EventPart, EventType
from sdpatterns.messaging.schema.forms import Form, form_of
from sdpatterns.messaging.schema.upcasting import upcasted

__all__ = ["DATA", "EventSchema"]

DATA = ValueCodec()
"""How the data of an event is written as bytes."""


class EventSchema:
    """Turns events into data with a name and a version, and the data of any version that was ever stored into events.

    ```
    stored   order.placed 1 --upcaster--> 2 --upcaster--> 3   OrderPlaced(...)
    written                                               3 <-- OrderPlaced(...)
    ```

    **Keeps**: every reader gets events of the newest version, because there is no other way to read them. Each earlier
    version has its upcasters, or the schema is not built.
    **May fail** with `ValueError` when it is built: a name, a class or a step of the chain is missing or there twice.
    Reading fails with `UnknownVersion` for a type or a version that a newer release wrote, else with `CodecError`.
    **Costs** nothing more than the reading itself while events have the newest version; else one call a step.

    ```python
    schema = EventSchema(
        EventType("order.placed", OrderPlaced, version=2, upcasters={1: with_currency}),
        EventType("order.paid", OrderPaid, earlier_names=["OrderPaid"]),
    )
    ```
    """

    def __init__(self, *types: EventType) -> None:
        self._types: dict[str, EventType] = {}
        self._by_kind: dict[type, EventType] = {}
        self._forms: dict[str, Form] = {}
        for it in types:
            for name in (it.name, *it.earlier_names):
                if name in self._types:
                    raise ValueError(f"event name {name!r} stands for two types")
                self._types[name] = it
            if it.kind in self._by_kind:
                raise ValueError(f"{it.kind.__qualname__} is the class of two event types: {it.name!r} is the second")
            self._by_kind[it.kind] = it
            self._forms[it.name] = form_of(it.kind)

    @property
    def types(self) -> tuple[EventType, ...]:
        """All of them, in the order in which they were given."""
        return tuple(self._by_kind.values())

    def find(self, name: str) -> EventType | None:
        """The type of that name, or that had it earlier."""
        return self._types.get(name)

    def type_of(self, event: object) -> EventType:
        """The type of an event. Raises TypeError for one whose class is not registered."""
        found = self._by_kind.get(type(event))
        if found is None:
            raise TypeError(f"{type(event).__qualname__} is no event of this schema: register it as an EventType")
        return found

    def form(self, kind: EventType) -> Form:
        """How events of a type become dicts."""
        return self._forms[kind.name]

    def dump(self, event: object) -> EventPart:
        """The name and the version of an event's type, and its data. Raises TypeError for a class that is unknown."""
        kind = self.type_of(event)
        return EventPart(kind.name, kind.version, self._forms[kind.name].dump(event))

    def load(self, part: EventPart) -> tuple[Any, ...]:
        """The events that stored data stands for: one, or what upcasters made of it. Raises `CodecError`."""
        return tuple(self._loaded(kind, data) for kind, data in upcasted(self._types, part))

    def _loaded(self, kind: EventType, data: dict[str, Any]) -> Any:
        try:
            return self._forms[kind.name].load(data)
        except CodecError:
            raise
        except Exception as cause:
            # Whatever the user's class raises: its data does not fit it.
            raise CodecError(f"data of event {kind.name!r} does not fit {kind.kind.__qualname__}: {cause}") from cause

    def encode(self, event: object) -> tuple[str, int, bytes]:
        """The name, the version and the data of an event, as bytes."""
        part = self.dump(event)
        return part.type, part.version, DATA.encode(part.data)

    def decode(self, name: str, version: int, data: bytes) -> tuple[Any, ...]:
        """The events that stored bytes stand for. Raises `CodecError`."""
        found = DATA.decode(data)
        if not isinstance(found, dict):
            raise CodecError(f"not the data of an event: {data[:40]!r}")
        return self.load(EventPart(name, version, found))

    def __repr__(self) -> str:
        return f"<EventSchema of {len(self._by_kind)} types>"
