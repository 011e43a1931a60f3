"""sdpatterns: composable distributed-systems patterns, typed and async-first.

The names that people import first. Each is loaded when it is first used, so that importing the
package costs next to nothing and pulls in no optional library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sdpatterns.coordination.election import Election as Election
    from sdpatterns.coordination.idempotency import Idempotency as Idempotency
    from sdpatterns.coordination.lease import Lease as Lease
    from sdpatterns.coordination.optimistic import OptimisticLock as OptimisticLock
    from sdpatterns.coordination.semaphore import Semaphore as Semaphore
    from sdpatterns.core.context import deadline_left_s as deadline_left_s
    from sdpatterns.core.context import with_deadline as with_deadline
    from sdpatterns.core.notices import Notice as Notice
    from sdpatterns.core.notices import listen as listen
    from sdpatterns.core.pipeline import Pipeline as Pipeline
    from sdpatterns.core.tracing import trace_with as trace_with
    from sdpatterns.errors import DeadlineExceeded as DeadlineExceeded
    from sdpatterns.messaging.eventstore import Aggregate as Aggregate
    from sdpatterns.messaging.eventstore import EventStore as EventStore
    from sdpatterns.messaging.inbox import Inbox as Inbox
    from sdpatterns.messaging.jobs import Jobs as Jobs
    from sdpatterns.messaging.jobs import Worker as Worker
    from sdpatterns.messaging.outbox import Outbox as Outbox
    from sdpatterns.messaging.outbox import Relay as Relay
    from sdpatterns.messaging.projection import Projection as Projection
    from sdpatterns.messaging.requests import Requests as Requests
    from sdpatterns.messaging.requests import Responder as Responder
    from sdpatterns.messaging.saga import Sagas as Sagas
    from sdpatterns.messaging.saga import SagaWorker as SagaWorker
    from sdpatterns.messaging.schema import EventSchema as EventSchema
    from sdpatterns.messaging.schema import EventType as EventType
    from sdpatterns.messaging.topics import Subscriber as Subscriber
    from sdpatterns.messaging.topics import Topic as Topic
    from sdpatterns.observability.observing import observe as observe
    from sdpatterns.resilience.breaker import CircuitBreaker as CircuitBreaker
    from sdpatterns.resilience.breaker import Window as Window
    from sdpatterns.resilience.bulkhead import Bulkhead as Bulkhead
    from sdpatterns.resilience.fallback import Fallback as Fallback
    from sdpatterns.resilience.retry import Retry as Retry
    from sdpatterns.resilience.timeout import Timeout as Timeout
    from sdpatterns.traffic.quota import Quota as Quota
    from sdpatterns.traffic.quota import daily as daily
    from sdpatterns.traffic.quota import monthly as monthly
    from sdpatterns.traffic.quota import weekly as weekly
    from sdpatterns.traffic.quota import yearly as yearly
    from sdpatterns.traffic.ratelimit import Rate as Rate
    from sdpatterns.traffic.ratelimit import RateLimiter as RateLimiter
    from sdpatterns.traffic.ratelimit import per_day as per_day
    from sdpatterns.traffic.ratelimit import per_hour as per_hour
    from sdpatterns.traffic.ratelimit import per_minute as per_minute
    from sdpatterns.traffic.ratelimit import per_second as per_second

__version__ = "0.1.0"

_HOMES = {
    "Aggregate": "sdpatterns.messaging.eventstore",
    "Bulkhead": "sdpatterns.resilience.bulkhead",
    "CircuitBreaker": "sdpatterns.resilience.breaker",
    "DeadlineExceeded": "sdpatterns.errors",
    "Election": "sdpatterns.coordination.election",
    "EventSchema": "sdpatterns.messaging.schema",
    "EventStore": "sdpatterns.messaging.eventstore",
    "EventType": "sdpatterns.messaging.schema",
    "Fallback": "sdpatterns.resilience.fallback",
    "Idempotency": "sdpatterns.coordination.idempotency",
    "Inbox": "sdpatterns.messaging.inbox",
    "Jobs": "sdpatterns.messaging.jobs",
    "Lease": "sdpatterns.coordination.lease",
    "Notice": "sdpatterns.core.notices",
    "OptimisticLock": "sdpatterns.coordination.optimistic",
    "Outbox": "sdpatterns.messaging.outbox",
    "Pipeline": "sdpatterns.core.pipeline",
    "Projection": "sdpatterns.messaging.projection",
    "Quota": "sdpatterns.traffic.quota",
    "Rate": "sdpatterns.traffic.ratelimit",
    "RateLimiter": "sdpatterns.traffic.ratelimit",
    "Relay": "sdpatterns.messaging.outbox",
    "Requests": "sdpatterns.messaging.requests",
    "Responder": "sdpatterns.messaging.requests",
    "Retry": "sdpatterns.resilience.retry",
    "SagaWorker": "sdpatterns.messaging.saga",
    "Sagas": "sdpatterns.messaging.saga",
    "Semaphore": "sdpatterns.coordination.semaphore",
    "Subscriber": "sdpatterns.messaging.topics",
    "Timeout": "sdpatterns.resilience.timeout",
    "Topic": "sdpatterns.messaging.topics",
    "Window": "sdpatterns.resilience.breaker",
    "Worker": "sdpatterns.messaging.jobs",
    "daily": "sdpatterns.traffic.quota",
    "deadline_left_s": "sdpatterns.core.context",
    "listen": "sdpatterns.core.notices",
    "monthly": "sdpatterns.traffic.quota",
    "observe": "sdpatterns.observability.observing",
    "per_day": "sdpatterns.traffic.ratelimit",
    "per_hour": "sdpatterns.traffic.ratelimit",
    "per_minute": "sdpatterns.traffic.ratelimit",
    "per_second": "sdpatterns.traffic.ratelimit",
    "trace_with": "sdpatterns.core.tracing",
    "weekly": "sdpatterns.traffic.quota",
    "with_deadline": "sdpatterns.core.context",
    "yearly": "sdpatterns.traffic.quota",
}

__all__ = [
    "Aggregate",
    "Bulkhead",
    "CircuitBreaker",
    "DeadlineExceeded",
    "Election",
    "EventSchema",
    "EventStore",
    "EventType",
    "Fallback",
    "Idempotency",
    "Inbox",
    "Jobs",
    "Lease",
    "Notice",
    "OptimisticLock",
    "Outbox",
    "Pipeline",
    "Projection",
    "Quota",
    "Rate",
    "RateLimiter",
    "Relay",
    "Requests",
    "Responder",
    "Retry",
    "SagaWorker",
    "Sagas",
    "Semaphore",
    "Subscriber",
    "Timeout",
    "Topic",
    "Window",
    "Worker",
    "__version__",
    "daily",
    "deadline_left_s",
    "listen",
    "monthly",
    "observe",
    "per_day",
    "per_hour",
    "per_minute",
    "per_second",
    "trace_with",
    "weekly",
    "with_deadline",
    "yearly",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
