"""Choreography: services that each do their part when they hear of an event, and say what follows."""

from sdpatterns.messaging.choreography.choreography import Choreography, ChoreographyService, Turn

__all__ = ["Choreography", "ChoreographyService", "Turn"]
