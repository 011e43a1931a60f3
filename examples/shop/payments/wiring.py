"""Payments, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import cache, partial

from starlette.types import ASGIApp

from sdpatterns import Election
from sdpatterns.backends.sqlalchemy import SQLBackend
from shop.background import Unbroken
from shop.database import Database
from shop.pattern_backend import pattern_backend
from shop.payments.api import routes
from shop.payments.cards import Cards
from shop.payments.coupon_api import coupon_routes
from shop.payments.coupon_store import COUPONS, CouponStore
from shop.payments.coupons import Coupons
from shop.payments.defences import (
    coupon_lease,
    fenced_coupons,
    fenced_sellers,
    payout_election,
    provider_breaker,
    provider_calls,
)
from shop.payments.domain import CHARGE_BUDGET_S, WELCOME
from shop.payments.payout_api import payout_routes
from shop.payments.payout_store import SELLERS, PayoutStore
from shop.payments.payouts import Payouts
from shop.payments.provider import ProviderClient
from shop.payments.schema import SCHEMA
from shop.payments.service import Payments
from shop.payments.store import PaymentStore
from shop.service_app import service_app
from shop.service_client import PATIENCE_S, ServiceClient, http_client
from shop.serving import FINISHED
from shop.settings import Settings
from shop.stage.faults import FaultInjector
from shop.stage.stoppable import Stoppable, may_stop_briefly
from shop.stage.switches import Switch
from shop.stage.unfenced import UnfencedRows
from shop.stage.views import breaker_view


def candidates(settings: Settings) -> tuple[str, ...]:
    """Who campaigns in this process: one for each replica, or two where there is only one."""
    name = f"payments-{settings.replica}"
    return (name,) if len(settings.replicas("payments")) > 1 else (f"{name}a", f"{name}b")


@asynccontextmanager
async def campaigning(
    settings: Settings, backend: SQLBackend, payouts: Payouts, injector: FaultInjector
) -> AsyncIterator[Election]:
    """The candidates of this process, campaigning and leading during the block; gives the election."""
    async with AsyncExitStack() as stack:
        for name in candidates(settings):
            stoppable = Stoppable(injector)
            election = payout_election(backend, stoppable.states(backend.states), name)
            work = partial(payouts.lead, name, stops=stoppable.may_stop)
            await stack.enter_async_context(election.service(work))
        stack.callback(injector.heal)  # one that is stopped goes on, so that it can end
        yield payout_election(backend, backend.states, "nobody")


def replica_clients(settings: Settings, stack: AsyncExitStack) -> Callable[[str], ServiceClient]:
    """A client for each replica of payments by its address, made when that replica is first asked by itself."""

    @cache
    def client(address: str) -> ServiceClient:
        alone = replace(settings, addresses={**settings.addresses, "payments": (address,)})
        found = http_client(alone, "payments", connections_max=4, patience_s=PATIENCE_S)
        stack.push_async_callback(found.aclose)
        return ServiceClient("payments", found)

    return client


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[ASGIApp]:
    """Payments with its client of the provider, its coupons, and the candidates for paying the sellers."""
    async with (
        Database.opened(settings.storage("payments"), SCHEMA) as database,
        pattern_backend(settings.storage("payments-leases")) as backend,
        http_client(settings, "psp", connections_max=32, patience_s=CHARGE_BUDGET_S) as client,
        AsyncExitStack() as stack,
    ):
        breaking, fencing, injector, unbroken = Switch("breaker"), Switch("fencing"), FaultInjector(), Unbroken()
        sellers = fencing.choice(fenced_sellers(), UnfencedRows(SELLERS))
        coupon_rows = fencing.choice(fenced_coupons(), UnfencedRows(COUPONS))
        breaker, coupon_store = provider_breaker(), CouponStore(database, coupon_rows, settings.now_us)
        await coupon_store.issue(*WELCOME)
        provider = ProviderClient(client, provider_calls(breaking.policy(breaker)))
        coupons = Coupons(coupon_store, coupon_lease(backend), partial(may_stop_briefly, injector))
        payments = Payments(PaymentStore(database, settings.now_us), provider, coupons, settings.now_us)
        payout_store = PayoutStore(database, sellers, settings.now_us)
        stack.push_async_callback(unbroken.aclose)
        payouts = Payouts(payout_store, unbroken)
        election = await stack.enter_async_context(campaigning(settings, backend, payouts, injector))
        view = partial(payouts.view, election, lambda: max(2, len(settings.replicas("payments"))))
        replicas = partial(settings.replicas, "payments")
        cards = Cards(settings.own_address(), replicas, replica_clients(settings, stack))
        own = [*routes(payments, cards), *coupon_routes(coupon_store), *payout_routes(payout_store, view)]
        with service_app(
            "payments",
            [*own, breaker_view(breaker)],
            parts=("psp", "payouts", "coupons"),
            switches=[breaking, fencing],
            database=database,
            injector=injector,
        ) as app:
            setattr(app.state, FINISHED, cards.charged)
            yield app
