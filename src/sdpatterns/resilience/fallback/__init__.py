"""Fallback: answers a failed call from another source or with a fixed value."""

from sdpatterns.resilience.fallback.notices import AlternativesExhausted, AlternativeUsed
from sdpatterns.resilience.fallback.policy import Fallback

__all__ = ["AlternativeUsed", "AlternativesExhausted", "Fallback"]
