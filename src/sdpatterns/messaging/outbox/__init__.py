"""Events that are published if, and only if, a transaction commits."""

from sdpatterns.messaging.consumer.notices import EventParked, EventPublished, EventRequeued
from sdpatterns.messaging.outbox.outbox import Outbox, OutboxBackend
from sdpatterns.messaging.outbox.relay import Relay, Target
from sdpatterns.messaging.outbox.targets import QueueTarget

__all__ = [
    "EventParked",
    "EventPublished",
    "EventRequeued",
    "Outbox",
    "OutboxBackend",
    "QueueTarget",
    "Relay",
    "Target",
]
