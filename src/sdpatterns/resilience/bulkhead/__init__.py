"""Bulkhead: limits the calls that run or wait at once, so that one slow service cannot take every worker."""

from sdpatterns.resilience.bulkhead.guard import Bulkhead
from sdpatterns.resilience.bulkhead.notices import SlotRefused

__all__ = ["Bulkhead", "SlotRefused"]
