"""An event as those see it who publish it: where it goes is a backend's business, what it says is not."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from sdpatterns.core.carried import carried
from sdpatterns.core.ranges import one_of

__all__ = ["EnvelopeMode", "Event", "check_mode", "enclosed"]

EnvelopeMode: TypeAlias = Literal["structured", "binary"]
"""All of an event as one JSON document; or its data as the body, and its attributes as headers."""

_DOCUMENT = "application/cloudevents+json"


class Event(Protocol):
    """A `CloudEvent`, or what can be written like one."""

    @property
    def subject(self) -> str | None:
        """Events of one subject keep their order."""
        ...

    @property
    def identity(self) -> str:
        """What no other event has, in at most 1,024 printable ASCII characters."""
        ...

    def structured(self) -> bytes:
        """One JSON document."""
        ...

    def binary(self) -> tuple[dict[str, str], bytes]:
        """Headers and a body."""
        ...


def check_mode(mode: EnvelopeMode) -> EnvelopeMode:
    """The mode itself, or `ValueError`."""
    one_of("mode", mode, ("structured", "binary"))
    return mode


def enclosed(event: Event, mode: EnvelopeMode) -> tuple[dict[str, str], bytes]:
    """The headers and the body of a message that carries the event, with the trace in which it is sent."""
    headers, body = event.binary() if mode == "binary" else ({"content-type": _DOCUMENT}, event.structured())
    return {**carried(), **headers}, body
