"""Events as readers see them, with their place in the log and where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sdpatterns.core.carried import CORRELATION

__all__ = ["CAUSATION", "SCHEMA_VERSION", "TENANT", "EventPage", "StoredEvent", "StreamHistory"]

CAUSATION = "causation-id"
"""The metadata with the id of the event that an event follows from."""
TENANT = "tenant"
"""The metadata with the tenant."""
SCHEMA_VERSION = "schema-version"
"""The metadata with the version of the event's type."""


class StoredEvent(NamedTuple):
    """An event of the newest version, and where it stands.

    `version` counts in its stream, `position` grows over the whole log, `recorded_us` is when it was appended.
    `subject` says whose personal data is in it. Where `is_shredded`, the key of that subject is gone, and the personal
    fields have the values that stand in their place.
    """

    event: Any
    stream: str
    version: int
    position: int
    id: str
    metadata: Mapping[str, str]
    recorded_us: int
    subject: str | None = None
    is_shredded: bool = False

    @property
    def correlation_id(self) -> str | None:
        """The id of the customer's action that it belongs to."""
        return self.metadata.get(CORRELATION)

    @property
    def causation_id(self) -> str | None:
        """The id of the event that it follows from."""
        return self.metadata.get(CAUSATION)

    @property
    def tenant(self) -> str:
        """Whose it is; empty where none was given."""
        return self.metadata.get(TENANT, "")


class StreamHistory(NamedTuple):
    """The events of a stream, in order, and its version: 0 where it does not exist."""

    events: Sequence[StoredEvent]
    version: int


class EventPage(NamedTuple):
    """Events of the whole log. `position` and the fields behind it are those of `LogPage`."""

    events: Sequence[StoredEvent]
    position: int
    head: int
    is_more: bool = False
    held_s: float | None = None
    thinned: int = 0
