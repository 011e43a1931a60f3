"""One event type: its name, its class, and how earlier versions of its data become today's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from sdpatterns.core.judging import plain
from sdpatterns.core.keys import check_name
from sdpatterns.core.ranges import whole

__all__ = ["EventPart", "EventType", "Upcaster"]


class EventPart(NamedTuple):
    """One of several events that an upcaster makes of one: the data of a type in a version."""

    type: str
    version: int
    data: dict[str, Any]


Upcaster: TypeAlias = Callable[[dict[str, Any]], dict[str, Any] | Sequence[EventPart]]
"""Turns the data of one version into that of the next, or into several events; none at all drops the event."""


@dataclasses.dataclass(frozen=True)
class EventType:
    """A type of event, checked: `EventType("order.placed", OrderPlaced, version=2, upcasters={1: in_euros})`.

    `kind` is a dataclass, a `msgspec.Struct` or a model of pydantic, and the form of the newest `version`. `upcasters`
    has a function for each earlier one, from `since` on: `{1: f}` makes version 2 of version 1. They get the data as
    it was stored, by field: plain JSON from a Struct or a model, Python's own values (`Decimal`, `datetime`) from a
    dataclass. `earlier_names` are still read.

    `personal` names the fields that a cipher protects, and what is read in their place when the key of their subject
    is gone; `subject` is the field that says whose they are. A field of an earlier version may stand there too.

    `sample` is an event for the golden files; one is made up where it is None.
    """

    name: str
    kind: type[Any]
    _: dataclasses.KW_ONLY
    version: int = 1
    since: int = 1
    upcasters: Mapping[int, Upcaster] = dataclasses.field(default_factory=dict)
    earlier_names: Sequence[str] = ()
    subject: str | None = None
    personal: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sample: object = None

    def __post_init__(self) -> None:
        """Check the settings; a missing upcaster is named."""
        check_name("EventType", self.name)
        if isinstance(self.earlier_names, str):
            raise ValueError(f"earlier_names must be a sequence of names, got {self.earlier_names!r}")  # noqa: TRY004 - a setting
        for name in self.earlier_names:
            check_name("earlier_names", name)
        whole("version", self.version, 1)
        whole("since", self.since, 1, self.version, of="the version")
        for version, upcaster in self.upcasters.items():
            whole("upcasters", version, self.since, self.version - 1, of="the version before this one")
            plain("upcasters", upcaster)
        for version in range(self.since, self.version):
            if version not in self.upcasters:
                raise ValueError(f"EventType {self.name!r} has no upcaster from version {version} to {version + 1}")
        if self.personal and self.subject is None:
            raise ValueError(f"EventType {self.name!r} has personal fields, and no subject that says whose they are")
        if self.subject is not None and self.subject in self.personal:
            raise ValueError(f"EventType {self.name!r}: the subject {self.subject!r} cannot be a personal field")
