"""Optimistic lock: a value is written only if no other caller has written it since it was read."""

from sdpatterns.coordination.optimistic.decision import Versioned
from sdpatterns.coordination.optimistic.lock import OptimisticLock

__all__ = ["OptimisticLock", "Versioned"]
