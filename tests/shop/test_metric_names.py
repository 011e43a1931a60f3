"""Every metric that a rule or a dashboard of the shop asks for is there, in a shop in which a customer has bought."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Set as AbstractSet
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

import deploy.monitoring
from shop.declared import DECLARED

from .pulses import until
from .visitor import Visitor

pytestmark = pytest.mark.anyio

MONITORING = Path(deploy.monitoring.__file__).parent
SCRAPED = ("gateway", "catalog", "cart", "inventory", "ordering", "payments", "fulfilment")


async def scraped(visitor: Visitor) -> dict[str, set[tuple[str, str]]]:
    """The labels that each metric has in one of the services."""
    found: dict[str, set[tuple[str, str]]] = {}
    async with httpx.AsyncClient() as http:
        for context in SCRAPED:
            text = (await http.get(f"{visitor.settings.address(context)}/metrics")).text
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    found.setdefault(sample.name, set()).update(sample.labels.items())
    return found


def asked_for() -> dict[str, str]:
    """All metrics of the library's in committed files, with the selectors that follow them."""
    texts = [
        path.read_text(encoding="utf-8") for path in sorted(MONITORING.rglob("*")) if path.suffix in {".yml", ".json"}
    ]
    named: dict[str, str] = {}
    for text in texts:
        for metric, selector in re.findall(r'\b(sdpatterns_\w+)(\{(?:"[^"]*"|[^"}])*\})?', text):
            named[metric] = named.get(metric, "") + selector
    return named


async def scraped_after_a_purchase(visitor: Visitor, names: AbstractSet[str]) -> dict[str, set[tuple[str, str]]]:
    """The same when metrics of those names are there, or when they do not come."""
    assert (await visitor.buy()).status_code == 201
    await visitor.settled()
    there = dict[str, set[tuple[str, str]]]()

    async def is_all_there() -> bool:
        there.update(await scraped(visitor))
        return names <= there.keys()

    with contextlib.suppress(TimeoutError):
        await until(is_all_there)  # what follows a purchase takes a moment: its jobs, for one
    return there


async def test_every_metric_that_is_asked_for_is_in_a_live_scrape(shared: Visitor) -> None:
    asked = asked_for()
    there = await scraped_after_a_purchase(shared, asked.keys())
    assert asked.keys() - there.keys() == set()
    assert len(asked) > 10
    wrong = {
        (metric, label, value)
        for metric, selectors in asked.items()
        for label, value in re.findall(r'\b(name|kind|to|le|route)="([^"$]*)"', selectors)
        if (label, value) not in there[metric]
    }
    assert wrong == set()


async def test_what_is_declared_is_what_the_shop_tells(shared: Visitor) -> None:
    there = await scraped_after_a_purchase(shared, {"sdpatterns_job_completed_total"})
    for notice in (notice for notices in DECLARED.values() for notice in notices):
        assert set(notice.labels().items()) <= there[f"sdpatterns_{notice.event}_total"], notice
    jobs = {value for label, value in there["sdpatterns_job_completed_total"] if label == "job"}
    assert jobs <= {value for label, value in there["sdpatterns_job_abandoned_total"] if label == "job"}
