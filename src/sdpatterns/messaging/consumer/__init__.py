"""Take messages from a queue and work on them: what workers of jobs and relays of outboxes have in common."""

from sdpatterns.messaging.consumer.config import Redelivery
from sdpatterns.messaging.consumer.decision import Again, GiveUp, Next, after_failure
from sdpatterns.messaging.consumer.delivery import Delivery
from sdpatterns.messaging.consumer.events import EventConsumer, EventDelivery, EventHandler, awaited, message_of
from sdpatterns.messaging.consumer.service import Consumer

__all__ = [
    "Again",
    "Consumer",
    "Delivery",
    "EventConsumer",
    "EventDelivery",
    "EventHandler",
    "GiveUp",
    "Next",
    "Redelivery",
    "after_failure",
    "awaited",
    "message_of",
]
