"""Event types by name and version, upcasters for what earlier releases wrote, and a check of compatibility for CI."""

from sdpatterns.messaging.schema.config import EventPart, EventType, Upcaster
from sdpatterns.messaging.schema.schema import EventSchema

__all__ = ["EventPart", "EventSchema", "EventType", "Upcaster"]
