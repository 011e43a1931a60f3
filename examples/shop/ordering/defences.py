"""The defences of ordering against a rush, a customer who presses twice, lost events, and a crash between two steps."""

from __future__ import annotations

from sdpatterns import Bulkhead, EventStore, Idempotency, Outbox, Pipeline, Projection, Relay, Retry, Timeout
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.errors import VersionConflict
from sdpatterns.messaging.consumer import Redelivery
from sdpatterns.messaging.outbox import Target
from sdpatterns.messaging.projection.applying import Apply
from sdpatterns.messaging.projection.service import Transactions
from sdpatterns.messaging.saga import Sagas, SagaWorker
from sdpatterns.messaging.schema import EventSchema
from shop.ordering.domain import CHECKOUT_S
from shop.ordering.events import SCHEMA_OF_EVENTS

ADMITTED_MAX, QUEUE_MAX, QUEUE_S = 4, 500, 25.0
KEPT_S, WAIT_S = 24 * 3600.0, 25.0
LEASE_S = 10.0  # longer than a checkout may take; after a crash its key is free again by then
AGAIN = Redelivery(attempts_max=1_000, base_s=0.2, max_s=3.0)
TAKEN_OVER_S = 6.0  # for so long the orders of a process that died stand still


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


def order_store(backend: SQLBackend, schema: EventSchema = SCHEMA_OF_EVENTS) -> EventStore:
    """What happened to each order, in order; nothing of it is ever changed."""
    return EventStore("order-events", backend=backend, schema=schema)


def decided_again() -> Retry:
    """Where two decide about one order at the same time, the later one decides again."""
    return Retry(on=VersionConflict, attempts_max=10, base_s=0.01, max_s=0.2, idempotent=True)


def order_tables(events: EventStore, apply: Apply, backend: SQLBackend, within: Transactions) -> Projection:
    """The orders as tables: each event has its effect on them once."""
    return Projection("orders", events, apply, backend=backend, transactions=within, lease_s=TAKEN_OVER_S, drain_s=2.0)


def driven(sagas: Sagas) -> SagaWorker:
    """Goes on with the orders of a process that died, at the step where it stood."""
    return SagaWorker(sagas, lease_s=TAKEN_OVER_S, drain_s=CHECKOUT_S, service="ordering")


def order_events(backend: SQLBackend) -> Outbox:
    """A paid order and the event that tells of it are one transaction: without it a crash between the two loses one."""
    return Outbox("orders", backend=backend)


def handed_on(events: Outbox, to: Target) -> Relay:
    """Each event is handed on until it has arrived, however long the other service is away."""
    return Relay(events, to, redelivery=AGAIN, drain_s=2.0, service="ordering")
