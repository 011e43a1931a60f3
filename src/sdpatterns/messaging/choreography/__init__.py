"""Choreography: services that each do their part when they hear of an event, and say what follows."""

from sdpatterns.messaging.choreography.choreography import Choreography, ChoreographyService, EventTurn

__all__ = ["Choreography", "ChoreographyService", "EventTurn"]
