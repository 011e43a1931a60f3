"""Readings of real resources: slots, pools that are in use, and a loop that is blocked."""

from __future__ import annotations

import asyncio
import time

import pytest
import redis
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest as in_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from sqlalchemy import create_engine
from sqlalchemy.pool import QueuePool

from sdpatterns import Bulkhead
from sdpatterns.messaging.projection import ProjectionLag
from sdpatterns.observability.prometheus import ResourceCollector
from sdpatterns.observability.resources import LoopLag, Reading, of_bulkhead, of_pool, of_projection, of_redis_pool

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def test_a_bulkhead_tells_its_slots_and_its_queue():
    slots, go = Bulkhead("reports", concurrent_max=2, queue_max=5), asyncio.Event()
    reading = of_bulkhead(slots)
    assert reading() == Reading("bulkhead", "reports", 0, 2, 0)
    calls = [asyncio.create_task(slots.call(go.wait)) for _ in range(3)]
    await asyncio.sleep(0)
    assert reading() == Reading("bulkhead", "reports", 2, 2, 1)
    go.set()
    await asyncio.gather(*calls)
    assert reading() == Reading("bulkhead", "reports", 0, 2, 0)


def test_a_pool_of_sqlalchemys_tells_what_is_out(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}", poolclass=QueuePool, pool_size=1, max_overflow=2)
    reading = of_pool("orders", engine.pool)
    assert reading() == Reading("sqlalchemy_pool", "orders", 0, 3, 0)
    with engine.connect(), engine.connect():
        assert reading() == Reading("sqlalchemy_pool", "orders", 2, 3, 1)
    assert reading()[2:4] == (0, 3)
    engine.dispose()
    unbounded = create_engine(f"sqlite:///{tmp_path / 'x.db'}", poolclass=QueuePool, max_overflow=-1)
    assert of_pool("orders", unbounded.pool)().capacity is None


def test_a_pool_of_redis_pys_tells_what_is_out(valkey_url):
    client = redis.Redis.from_url(valkey_url, max_connections=4)
    reading = of_redis_pool("cache", client.connection_pool)
    assert reading() == Reading("redis_pool", "cache", 0, 4)
    connection = client.connection_pool.get_connection()
    assert reading() == Reading("redis_pool", "cache", 1, 4)
    client.connection_pool.release(connection)
    assert reading().used == 0
    client.close()


async def test_a_loop_that_is_blocked_is_late_and_the_watch_ends_with_its_block():
    before = asyncio.all_tasks()
    async with LoopLag("shop", every_s=0.01, stall_s=0.05) as lag:
        await asyncio.sleep(0.03)
        assert lag.reading().errors == 0
        time.sleep(0.1)  # noqa: ASYNC251 - the fault that is to be seen
        await asyncio.sleep(0.001)
        late = lag.reading()
    assert late.waiting >= 0.08
    assert late.errors == 1
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("settings", [{"every_s": 0}, {"stall_s": -1}])
def test_bad_settings_are_refused_by_name(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        LoopLag("shop", **settings)


def test_a_scrape_reads_each_resource_once_more():
    registry, now = CollectorRegistry(), [1.0]
    registry.register(ResourceCollector([lambda: Reading("pool", 'o"dd', now[0], 4, None, 2), LoopLag("shop").reading]))
    now[0] = 3.0
    families = {family.name: family for family in text_string_to_metric_families(in_openmetrics(registry).decode())}
    used = families["sdpatterns_resource_used"].samples
    assert [(one.labels, one.value) for one in used] == [({"kind": "pool", "name": 'o"dd'}, 3.0)]
    errors = families["sdpatterns_resource_errors"].samples
    counted = [(one.labels["kind"], one.value) for one in errors]
    assert counted == [("pool", 2), ("event_loop", 0)]
    assert [one.labels["name"] for one in families["sdpatterns_resource_waiting"].samples] == ["shop"]


class Runner:
    """A projection whose lag is given."""

    name = "orders"
    version = 2

    def __init__(self, lag: ProjectionLag | None) -> None:
        self._lag = lag

    def last_lag(self) -> ProjectionLag | None:
        return self._lag


def test_a_projection_shows_its_lag_where_it_is_held() -> None:
    assert of_projection(Runner(ProjectionLag(7, 10)))() == Reading("projection", "orders/2", waiting=3)
    assert of_projection(Runner(None))() == Reading("projection", "orders/2")
