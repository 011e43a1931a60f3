"""The defences of ordering against a rush, a slow service, a customer who presses twice, and events that are lost."""

from __future__ import annotations

from sdpatterns import Bulkhead, Idempotency, Outbox, Pipeline, Relay, Timeout
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.messaging.consumer import Redelivery
from sdpatterns.messaging.outbox import Target
from shop.ordering.domain import CHECKOUT_S

ADMITTED_MAX, QUEUE_MAX, QUEUE_S = 12, 500, 25.0
KEPT_S, WAIT_S = 24 * 3600.0, 25.0
LEASE_S = 10.0  # longer than a checkout may take; after a crash its key is free again by then


def checkout_bulkhead() -> Bulkhead:
    """Without turns a rush makes all checkouts slow at once, until none is done in time."""
    return Bulkhead("checkout", concurrent_max=ADMITTED_MAX, queue_max=QUEUE_MAX, max_wait_s=QUEUE_S)


def bounded_checkouts(turns: Bulkhead) -> Pipeline:
    """A checkout waits for its turn, and from then on its time is limited."""
    return Pipeline(turns, Timeout(CHECKOUT_S), name="checkout")


def checkout_once(backend: SQLBackend) -> Idempotency:
    """One key, one execution, one answer: a second press waits for the first press's answer."""
    store, signals = backend.states, backend.signals
    return Idempotency(
        "checkout-keys", store=store, signals=signals, lease_s=LEASE_S, keep_s=KEPT_S, on_busy="wait", wait_max_s=WAIT_S
    )


def order_events(backend: SQLBackend) -> Outbox:
    """A paid order and the event that tells of it are one transaction: without it a crash between the two loses one."""
    return Outbox("orders", backend=backend)


def handed_on(events: Outbox, to: Target) -> Relay:
    """Each event is handed on until it has arrived, however long the other service is away."""
    return Relay(events, to, redelivery=Redelivery(attempts_max=1_000, base_s=0.2, max_s=3.0), drain_s=2.0)
