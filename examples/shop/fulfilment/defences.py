"""The defences of fulfilment against a message that comes twice, and against others that are slow, away, or refuse."""

from __future__ import annotations

from sdpatterns import Bulkhead, Inbox, Jobs, Worker
from sdpatterns.backends.sqlalchemy import SQLBackend

AT_ONCE, AT_SELLERS, AT_CARRIER = 16, 4, 4
ATTEMPTS, WEBHOOK_ATTEMPTS = 50, 5
FIRST_PAUSE_S, PAUSE_MAX_S = 0.4, 5.0


def taken_once() -> Inbox:
    """An event may be delivered twice; what follows from it begins once."""
    return Inbox("order-events")


def follow_ups(backend: SQLBackend) -> Jobs:
    """What has to be done later stands in the database, and is tried again until it is done or given up."""
    return Jobs("follow-ups", backend=backend)


def doing(jobs: Jobs) -> Worker:
    """Jobs run beside each other; one that hangs or fails holds up no other."""
    return Worker(jobs, concurrency=AT_ONCE, drain_s=2.0, service="fulfilment")


def few_at_sellers() -> Bulkhead:
    """Sellers that hang take some of the places of the worker, and not all of them."""
    return Bulkhead("sellers at once", concurrent_max=AT_SELLERS)


def few_at_carrier() -> Bulkhead:
    """The same for a carrier that never answers: parcels wait, and nothing else does."""
    return Bulkhead("carrier at once", concurrent_max=AT_CARRIER)
