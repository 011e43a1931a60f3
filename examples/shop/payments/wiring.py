"""Payments, put together: here stands the pipeline that guards the shop against its provider."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import ASGIApp

from sdpatterns import CircuitBreaker, Pipeline, Retry, Timeout, Window
from sdpatterns.core.policy import Policy
from shop.database import Database
from shop.hosting import hosted
from shop.neighbours import client_of
from shop.payments.api import routes
from shop.payments.domain import CHARGE_BUDGET_S
from shop.payments.provider import TROUBLE, ProviderClient
from shop.payments.service import Payments
from shop.payments.store import SCHEMA, PaymentStore
from shop.place import Place
from shop.switches import EitherPolicy, Switch

ATTEMPT_S = 1.0


def protection(switch: Switch) -> tuple[Policy, CircuitBreaker]:
    """What stands between the shop and its provider: a repeat, a breaker, a limit on each attempt.

    With the switch off there is no breaker: each call waits for the provider, dead or not.
    A charge may be repeated because the order's id is its idempotency key at the provider.
    """
    breaker = CircuitBreaker(
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
    retry = Retry(on=TROUBLE, attempts_max=2, base_s=0.1, max_s=0.3, idempotent=True)
    attempt = Timeout(ATTEMPT_S)
    guarded, bare = Pipeline(retry, breaker, attempt, name="psp"), Pipeline(retry, attempt, name="psp")
    return EitherPolicy(switch, on=guarded, off=bare), breaker


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[ASGIApp]:
    """Payments with its client of the provider."""
    switch = Switch("breaker")
    pipeline, breaker = protection(switch)

    def defences() -> dict[str, Any]:
        return {"breaker": breaker_view(breaker)}

    async with (
        Database.opened(place.storage("payments"), SCHEMA) as database,
        client_of(place, "psp", connections_max=32, patience_s=CHARGE_BUDGET_S) as client,
    ):
        payments = Payments(PaymentStore(database, place.now_us), ProviderClient(client, pipeline), place.now_us)
        with hosted(
            "payments", routes(payments, defences), parts=("psp",), switches=[switch], database=database
        ) as app:
            yield app


def breaker_view(breaker: CircuitBreaker) -> dict[str, Any]:
    """A breaker as the control room shows it."""
    seen = breaker.snapshot()
    wait_s = None if seen.retry_after_s is None else round(seen.retry_after_s, 1)
    return {"state": seen.state.value, "calls": seen.calls, "failures": seen.failures, "next_probe_in_s": wait_s}
