"""What a customer sees of an order's way: the steps of its saga, and how it was undone or cancelled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sdpatterns import EventStore
from sdpatterns.messaging.eventstore import StoredEvent
from sdpatterns.messaging.saga import Sagas
from sdpatterns.messaging.saga.journal import StepBegan, StepDone, decoded
from sdpatterns.ports.log import RecordedEvent
from shop.ordering.domain import BY_RETURN, OrderCancelled, OrderFailed, OrderGivenUp, OrderTakenBack, Step
from shop.ordering.events import ORDERS

_SHOWN = ("take", "reserve", "charge", "sell")
_ENTRIES_MAX = 500
_TURNS = {
    OrderGivenUp: ("undo", "begun"),
    OrderFailed: ("undo", "done"),
    OrderTakenBack: ("cancel", "begun"),
    OrderCancelled: ("cancel", "done"),
}


async def history_of(order_id: str, sagas: Sagas, events: EventStore) -> list[Step]:
    """The way of an order, in the order of time."""
    journal = (await sagas.log.read(order_id, 0, _ENTRIES_MAX)).events
    turns = (await events.load(ORDERS.stream(order_id))).events
    return [*_steps(journal), *_turns(turns)]


def _steps(journal: Iterable[RecordedEvent]) -> list[Step]:
    found: list[Step] = []
    for recorded in journal:
        entry = decoded(recorded)
        if isinstance(entry, StepBegan) and entry.step in _SHOWN:
            found.append(Step(entry.step, "begun", recorded.recorded_us))
        elif isinstance(entry, StepDone) and entry.step in _SHOWN and not entry.value:
            found.append(Step(entry.step, "done", recorded.recorded_us))
    return found


def _turns(events: Sequence[StoredEvent]) -> list[Step]:
    is_return = any(isinstance(it.event, OrderTakenBack) and it.event.reason == BY_RETURN for it in events)
    turns = [Step(*_TURNS[type(it.event)], it.event.at_us) for it in events if type(it.event) in _TURNS]
    return [turn._replace(step="return") if is_return and turn.step == "cancel" else turn for turn in turns]
