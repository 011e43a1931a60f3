"""What each service may come to tell: counters of these begin at 0, so that alerts see the first event of each."""

from __future__ import annotations

from sdpatterns.coordination.lease.notices import LeaseLeft
from sdpatterns.core.notices import Notice
from sdpatterns.messaging.consumer.notices import EventParked
from sdpatterns.messaging.jobs.notices import JobAbandoned, JobLost
from sdpatterns.messaging.projection.notices import StreamParked
from sdpatterns.messaging.saga.notices import SagaEnded, SagaLost, SagaParked
from sdpatterns.resilience.breaker import CallRefused, CircuitClosed, CircuitOpened
from sdpatterns.resilience.bulkhead.notices import SlotRefused
from sdpatterns.resilience.retry.notices import RetriesExhausted, RetryScheduled
from sdpatterns.traffic.ratelimit.notices import LimitReached
from shop.stage.pulse import CallFinished

_JOBS = ("bill", "confirm", "ship", "tell_sellers", "webhook")
_SAGAS = ("place_order", "cancel_order", "return_order")

DECLARED: dict[str, tuple[Notice, ...]] = {
    "gateway": (
        LimitReached(name="api", key="", retry_after_s=0.0),
        LimitReached(name="searches", key="", retry_after_s=0.0),
        SlotRefused(name="streams", key="", reason="full"),
    ),
    "ordering": (
        *(SagaParked(name="orders", saga=saga, id="", reason="") for saga in _SAGAS),
        *(SagaLost(name="orders", saga=saga, id="") for saga in _SAGAS),
        SagaEnded(name="orders", saga="place_order", id="", status="undone", duration_s=0.0),
        EventParked(name="orders", id="", attempt=0, reason=""),
        StreamParked(name="orders", version=1, stream="", attempts=0, reason=""),
        SlotRefused(name="checkout", key="", reason="full"),
    ),
    "payments": (
        CircuitOpened(name="psp", key="", reason="consecutive", open_s=None),
        CircuitClosed(name="psp", key="", reason="probes"),
        CallRefused(name="psp", key="", retry_after_s=None, enforced=True),
        CallFinished(name="payments", to="psp", failed=True, duration_s=0.0),
        RetryScheduled(name="psp", attempt=0, delay_s=0.0, error="ProviderFailed"),
        RetriesExhausted(name="psp", attempts=0, reason="attempts", error="ProviderFailed"),
        LeaseLeft(name="payouts", key="", fence=0, error=""),
        LeaseLeft(name="coupons", key="", fence=0, error=""),
    ),
    "fulfilment": (
        *(JobAbandoned(name="follow-ups", job=job, id="", attempt=0, reason="") for job in _JOBS),
        *(JobLost(name="follow-ups", job=job, id="", attempt=0) for job in _JOBS),
        SlotRefused(name="sellers at once", key="", reason="full"),
    ),
}
