"""Circuit breaker: stops calls to a service that fails, and tests after a while whether it works again."""

from sdpatterns.resilience.breaker.config import BreakerConfig, Window
from sdpatterns.resilience.breaker.decision import CircuitMode, CircuitState
from sdpatterns.resilience.breaker.guard import CircuitBreaker, CircuitSnapshot
from sdpatterns.resilience.breaker.notices import (
    CallRefused,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    CircuitShared,
)

__all__ = [
    "BreakerConfig",
    "CallRefused",
    "CircuitBreaker",
    "CircuitClosed",
    "CircuitHalfOpened",
    "CircuitMode",
    "CircuitOpened",
    "CircuitShared",
    "CircuitSnapshot",
    "CircuitState",
    "Window",
]
