"""Semaphore: a few callers of the whole fleet at a time work on a key."""

from sdpatterns.coordination.semaphore.guard import Semaphore

__all__ = ["Semaphore"]
