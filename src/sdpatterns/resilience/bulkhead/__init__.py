"""So many calls at a time, so many waiting, and no more: one slow callee cannot take every worker."""

from sdpatterns.resilience.bulkhead.guard import Bulkhead
from sdpatterns.resilience.bulkhead.notices import SlotRefused

__all__ = ["Bulkhead", "SlotRefused"]
