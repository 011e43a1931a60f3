"""A call that failed is answered by something else: another source, or a value that will do."""

from sdpatterns.resilience.fallback.notices import AlternativesExhausted, AlternativeUsed
from sdpatterns.resilience.fallback.policy import Fallback

__all__ = ["AlternativeUsed", "AlternativesExhausted", "Fallback"]
