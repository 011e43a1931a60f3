"""The defences of payments against a provider that fails, hangs or is away."""

from __future__ import annotations

from sdpatterns import CircuitBreaker, Pipeline, Retry, Timeout, Window
from sdpatterns.core.policy import Policy
from shop.payments.provider import TROUBLE

ATTEMPT_S = 1.0


def provider_breaker() -> CircuitBreaker:
    """Stops the calls after five failures in a row, or when half of ten seconds' calls failed."""
    return CircuitBreaker(
        "psp",
        consecutive=5,
        failure_rate=0.5,
        window=Window.seconds(10),
        calls_min=6,
        open_s=2.0,
        open_growth=1.5,
        open_max_s=5.0,
        open_jitter=0.1,
        probe_successes=2,
        half_open_max_s=5.0,
    )


def provider_calls(breaker: Policy) -> Pipeline:
    """One repeat, outside the breaker, and a time limit for each attempt.

    A charge may be repeated because the order's id is its idempotency key at the provider.
    """
    retry = Retry(on=TROUBLE, attempts_max=2, base_s=0.1, max_s=0.3, idempotent=True)
    return Pipeline(retry, breaker, Timeout(ATTEMPT_S), name="psp")
