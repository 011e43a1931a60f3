"""A call that failed by chance is repeated, a bounded number of times, after a growing wait."""

from sdpatterns.resilience.retry.notices import RetriesExhausted, RetryScheduled
from sdpatterns.resilience.retry.policy import Attempt, Retry

__all__ = ["Attempt", "RetriesExhausted", "Retry", "RetryScheduled"]
