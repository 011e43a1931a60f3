"""What type checkers must find at the blocking door. Checked, strictly, never run."""

# pyright: strict

from collections.abc import Sequence
from typing import assert_type

from sdpatterns import CircuitBreaker, Election, Idempotency, Lease, Pipeline, RateLimiter, Retry, per_second
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.blocking import blocking
from sdpatterns.coordination.election import Leader
from sdpatterns.coordination.lease import Held
from sdpatterns.messaging.choreography import Choreography, ChoreographyService
from sdpatterns.messaging.schema import EventSchema
from sdpatterns.ports.queue import Claims, Message
from sdpatterns.traffic.ratelimit import Decision

backend = MemoryBackend()
shop: Choreography[None] = Choreography("shop", backend=backend, schema=EventSchema())
limiter = blocking(RateLimiter("api", per_second(10), store=backend.states))
once = blocking(Idempotency("checkout", store=backend.states))
payout = blocking(Lease("payout", store=backend.states, signals=backend.signals))
election = blocking(Election("relay", store=backend.states, signals=backend.signals))
quotes = blocking(Pipeline(Retry(), CircuitBreaker("quotes", failure_rate=0.5), name="quotes"))


@quotes.protect
def fetch(symbol: str, *, depth: int = 1) -> float:
    return float(depth)


def key_of(user: int) -> str:
    return f"user:{user}"


@limiter.by(key_of).protect
def greet(user: int) -> str:
    return f"{user}"


@payout.by(key_of).protect
def pay(user: int) -> str:
    return f"{user}"


@limiter
def look(user: int) -> str:
    return f"{user}"


def main() -> None:
    assert_type(look(5), str)
    look("x")  # type: ignore[arg-type]
    assert_type(fetch("ACME", depth=2), float)
    fetch(1)  # type: ignore[arg-type]
    fetch("ACME", width=2)  # type: ignore[call-arg]
    assert_type(greet(5), str)
    assert_type(limiter.acquire("user:1"), Decision)
    assert_type(quotes.call(fetch, "ACME"), float)
    assert_type(once.call("key", fetch, "ACME"), float)
    assert_type(pay(5), str)
    pay("x")  # type: ignore[arg-type]
    with payout.guard("k") as held:
        assert_type(held, Held)
    with election.leading() as term:
        assert_type(term, Held)
    assert_type(election.leader(), Leader | None)
    assert_type(payout.wait("k", max_wait_s=1.0), Held)
    assert_type(payout.release(held), bool)
    with limiter.guard("user:1"), limiter.by("user:2").guard():
        pass
    for attempt in blocking(Retry()):
        with attempt:
            pass
    blocking(backend).create()
    mails = blocking(MemoryBackend().queue("mails"))
    assert_type(mails.publish([Message(id="a", payload=b"")]), Sequence[bool])
    assert_type(mails.claim(10, 30.0), Claims)
    mails.settle([7])  # type: ignore[list-item]
    flow = blocking(shop)
    flow.publish(Decision, id="a", subject="o-1")
    assert_type(flow.services, list[str])
    with blocking(ChoreographyService(shop, "stock")):
        flow.publish(Decision, subject="o-1")  # type: ignore[call-arg]
    blocking(7)  # type: ignore[call-overload]
