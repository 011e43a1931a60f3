"""Projections: views that are made of the events of an event store."""

from sdpatterns.messaging.projection.decision import ParkedStream
from sdpatterns.messaging.projection.service import Projection, ProjectionLag

__all__ = ["ParkedStream", "Projection", "ProjectionLag"]
