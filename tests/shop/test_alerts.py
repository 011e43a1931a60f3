"""A payment provider that fails, seen by Debian's own Prometheus and Alertmanager: the page comes, and it resolves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from deploy.monitoring.dashboards import BOARDS
from tests.machine import slowness
from tests.monitoring.live import Told, Watch, watching
from tests.programs import needed

from .visitor import PLENTY, Visitor

pytestmark = pytest.mark.anyio

Opening = Callable[[], AbstractAsyncContextManager[Visitor]]
SCRAPED = ("gateway", "catalog", "cart", "inventory", "ordering", "payments", "fulfilment")
LIMIT_S = 90
ON_CALL = {"on-call-weekdays", "on-call-weekend"}


@asynccontextmanager
async def customers(visitor: Visitor) -> AsyncIterator[None]:
    """Some who buy one after the other, whatever they are answered."""

    async def buys() -> None:
        while True:
            await visitor.http.get(f"/api/v1/products/{PLENTY}")
            await visitor.buy()
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(buys()) for _ in range(2)]
        yield
        for task in tasks:
            task.cancel()


def asked() -> list[str]:
    """Each query of the dashboards, with what Grafana puts in: what it gave at any time of this test."""
    queries = [query.expr for board in BOARDS for _, views in board.rows for view in views for query in view.queries]
    filled = [query.replace("$__rate_interval", "30s").replace("$service", "payments") for query in queries]
    return [f"count_over_time(({query})[10m:1s])" for query in filled]


async def until_judged(watch: Watch) -> None:
    """Wait until no checkout fails and no page is open: on a busy machine some fail from the start."""
    paged = False
    async with asyncio.timeout(LIMIT_S * slowness()):
        while True:
            found = await asyncio.to_thread(watch.query, 'slo:sli_error:ratio_rate5m{slo="checkout-success"}')
            while not watch.told.empty():
                heard = watch.told.get()
                paged = heard.status == "firing" if is_page(heard) else paged
            if [value for _, value in found] == [0.0] and not paged:
                return
            await asyncio.sleep(0.2)


def is_page(heard: Told) -> bool:
    return (heard.alert, heard.severity) == ("CheckoutFails", "page")


async def until_told(watch: Watch, status: str) -> tuple[Told, float]:
    """What the people on call hear of the checkout with that status, and after how long."""
    began_s = time.monotonic()
    while True:
        heard = await asyncio.to_thread(watch.told.get, timeout=LIMIT_S * slowness())
        if is_page(heard) and heard.status == status:
            return heard, time.monotonic() - began_s


@pytest.mark.nightly
async def test_a_page_comes_when_the_provider_fails_and_resolves_when_it_is_healed(
    opening: Opening, capsys: pytest.CaptureFixture[str]
) -> None:
    for program in ("prometheus", "prometheus-alertmanager"):
        needed(program, program)
    async with opening() as visitor:
        with watching([visitor.settings.address(context) for context in SCRAPED]) as watch:
            async with customers(visitor):
                await until_judged(watch)
                await visitor.break_provider("fail", ttl_s=600)
                page, fired_s = await until_told(watch, "firing")
                await visitor.heal_provider()
                resolved, resolved_s = await until_told(watch, "resolved")
                empty = [expr for expr in asked() if not await asyncio.to_thread(watch.query, expr)]
    assert page.receiver == resolved.receiver in ON_CALL
    with capsys.disabled():
        print(f"\nthe page came {fired_s:.1f} s after the fault, and resolved {resolved_s:.1f} s after healing")  # noqa: T201
    assert fired_s <= LIMIT_S * slowness()
    assert empty == []
