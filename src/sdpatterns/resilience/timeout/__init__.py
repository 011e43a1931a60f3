"""A call that takes too long is stopped, and whatever it calls knows how much time is left."""

from sdpatterns.resilience.timeout.guard import Timeout

__all__ = ["Timeout"]
