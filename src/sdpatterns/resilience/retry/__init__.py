"""Retry: repeats a failed call a bounded number of times, after waits that grow."""

from sdpatterns.resilience.retry.notices import RetriesExhausted, RetryScheduled
from sdpatterns.resilience.retry.policy import Attempt, Retry

__all__ = ["Attempt", "RetriesExhausted", "Retry", "RetryScheduled"]
