"""Event store: streams of typed events, and aggregates that decide on them."""

from sdpatterns.messaging.eventstore.aggregate import Aggregate, AggregateState, CommandResult
from sdpatterns.messaging.eventstore.events import EventPage, StoredEvent, StreamHistory
from sdpatterns.messaging.eventstore.store import EventStore, EventStoreBackend
from sdpatterns.messaging.eventstore.subscription import EventSubscription

__all__ = [
    "Aggregate",
    "AggregateState",
    "CommandResult",
    "EventPage",
    "EventStore",
    "EventStoreBackend",
    "EventSubscription",
    "StoredEvent",
    "StreamHistory",
]
