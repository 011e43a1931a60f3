"""The defences of payments: against a provider that is away, and against two that do what one may do."""

from __future__ import annotations

from sdpatterns import CircuitBreaker, Election, Lease, Pipeline, Retry, Timeout, Window
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.backends.sqlalchemy.fenced import FencedRows
from sdpatterns.core.policy import Policy
from sdpatterns.ports.states import StateStore
from shop.payments.coupon_store import COUPONS
from shop.payments.payout_store import SELLERS
from shop.payments.provider import TROUBLE

ATTEMPT_S = 1.0
COUPON_S = 1.0  # longer than it takes to look at a coupon and use it
TERM_S = 3.0  # after a crash no candidate leads for so long


def provider_breaker() -> CircuitBreaker:
    """Stops the calls after five failures in a row, or when half of ten seconds' calls failed.

    Where one call in five fails, chance fails half of six calls once in ten times, and half of twenty once in 380.
    """
    return CircuitBreaker(
        "psp",
        consecutive=5,
        failure_rate=0.5,
        window=Window.seconds(10),
        calls_min=20,
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


def payout_election(backend: SQLBackend, states: StateStore, candidate: str) -> Election:
    """One candidate at a time pays the sellers; when it dies, the next one does."""
    return Election("payouts", store=states, signals=backend.signals, candidate=candidate, lease_s=TERM_S)


def fenced_sellers() -> FencedRows:
    """Rows of sellers that refuse a leader whose term is over: it may have been stopped and not know it."""
    return FencedRows(SELLERS)


def coupon_lease(backend: SQLBackend) -> Lease:
    """One order at a time looks at a coupon and uses it."""
    return Lease("coupons", store=backend.states, signals=backend.signals, lease_s=COUPON_S, wait_max_s=2.0)


def fenced_coupons() -> FencedRows:
    """Rows of coupons that refuse a holder whose lease is over."""
    return FencedRows(COUPONS)
