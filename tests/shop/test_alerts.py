"""A payment provider that fails, seen by Debian's own Prometheus and Alertmanager: the page comes, and it resolves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from tests.machine import slowness
from tests.monitoring.live import Told, Watch, watching
from tests.programs import needed

from .visitor import Visitor

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
            await visitor.buy()
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(buys()) for _ in range(2)]
        yield
        for task in tasks:
            task.cancel()


async def until_judged(watch: Watch) -> None:
    """Wait until Prometheus knows the ratio of failed checkouts, which is 0."""
    async with asyncio.timeout(LIMIT_S * slowness()):
        while True:
            found = await asyncio.to_thread(watch.query, 'slo:sli_error:ratio_rate5m{slo="checkout-success"}')
            if [value for _, value in found] == [0.0]:
                return
            await asyncio.sleep(0.2)


async def until_told(watch: Watch, status: str) -> tuple[Told, float]:
    """What the people on call hear of the checkout with that status, and after how long."""
    began_s = time.monotonic()
    while True:
        heard = await asyncio.to_thread(watch.told.get, timeout=LIMIT_S * slowness())
        if (heard.alert, heard.severity, heard.status) == ("CheckoutFails", "page", status):
            return heard, time.monotonic() - began_s


async def test_a_page_comes_when_the_provider_fails_and_resolves_when_it_is_healed(
    opening: Opening, capsys: pytest.CaptureFixture[str]
) -> None:
    for program in ("prometheus", "prometheus-alertmanager"):
        needed(program, program)
    async with opening() as visitor:
        with watching([visitor.settings.address(context) for context in SCRAPED]) as watch:
            async with customers(visitor):
                await until_judged(watch)
                assert watch.told.empty()
                await visitor.break_provider("fail", ttl_s=600)
                page, fired_s = await until_told(watch, "firing")
                await visitor.heal_provider()
                resolved, resolved_s = await until_told(watch, "resolved")
    assert page.receiver == resolved.receiver in ON_CALL
    with capsys.disabled():
        print(f"\nthe page came {fired_s:.1f} s after the fault, and resolved {resolved_s:.1f} s after healing")  # noqa: T201
    assert fired_s <= LIMIT_S * slowness()
