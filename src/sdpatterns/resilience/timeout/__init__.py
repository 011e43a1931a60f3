"""Timeout: ends a call that takes too long, and passes the time that is left to everything inside."""

from sdpatterns.resilience.timeout.guard import Timeout

__all__ = ["Timeout"]
