"""Hand events to a user's function, one after another, and say which of them it failed on."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from sdpatterns.errors import BackendError
from sdpatterns.messaging.eventstore import EventStore
from sdpatterns.ports.log import RecordedEvent

__all__ = ["Apply", "EventNotApplied", "StepRefused", "applied"]

Apply: TypeAlias = Callable[..., Any]
"""Changes the view: `apply(stored)`, or `apply(stored, session)` where there are transactions. May be async."""


class EventNotApplied(Exception):
    """The event at `place` cannot be read, or the function raised."""

    def __init__(self, recorded: RecordedEvent, place: int, error: Exception) -> None:
        self.recorded = recorded
        self.place = place
        self.error = error
        super().__init__(recorded, place, error)


class StepRefused(Exception):
    """Another runner has the projection: the transaction is to be rolled back."""


async def applied(
    store: EventStore,
    events: Sequence[RecordedEvent],
    apply: Callable[[Any], Any],
    before_each: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Read each event as one of the newest version, and apply it. Raises `EventNotApplied`."""
    for place, recorded in enumerate(events):
        if before_each is not None:
            await before_each()
        try:
            for stored in await store.read_recorded([recorded]):
                answer = apply(stored)
                if inspect.isawaitable(answer):
                    await answer
        except BackendError:
            # The cipher's store, or one that the function uses: it is the same for all events.
            raise
        except Exception as error:
            # Whatever the function raises, and an event that cannot be read: its stream is parked.
            raise EventNotApplied(recorded, place, error) from error
