"""Take messages from a queue and work on them: what workers of jobs and relays of outboxes have in common."""

from sdpatterns.messaging.consumer.config import Redelivery
from sdpatterns.messaging.consumer.decision import Again, GiveUp, Next, after_failure
from sdpatterns.messaging.consumer.delivery import Delivery
from sdpatterns.messaging.consumer.service import Consumer

__all__ = ["Again", "Consumer", "Delivery", "GiveUp", "Next", "Redelivery", "after_failure"]
