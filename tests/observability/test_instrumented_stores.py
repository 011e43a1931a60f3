"""A store's steps under the guard that asked for them, and what OpenTelemetry's instrumentations add."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sdpatterns import Bulkhead, RateLimiter, per_minute
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.blocking import blocking
from sdpatterns.core.codec import JsonCodec
from sdpatterns.errors import BackendUnavailable
from sdpatterns.observability.traces import SpanRecord, TraceStore, waterfall
from sdpatterns.ports.states import Space
from tests.backends.everywhere import BLOCKING_KINDS, KINDS, opened, opened_blocking, unique

pytestmark = pytest.mark.anyio

SYSTEMS = {"sqlite": "sqlite", "postgres": "postgresql", "valkey": "redis", "cluster": "redis"}
DATABASES = ["sqlite", "postgres"]


def traces(store: TraceStore) -> list[list[tuple[int, str]]]:
    """Each trace as it is drawn."""
    ids = [summary.trace_id for summary in store.recent()]
    return [[(row.depth, row.name) for row in waterfall(store.spans(trace_id)).rows] for trace_id in ids]


def steps(store: TraceStore) -> list[SpanRecord]:
    spans = [span for summary in store.recent() for span in store.spans(summary.trace_id)]
    return [span for span in spans if "db.operation.name" in span.attributes]


@pytest.fixture(params=DATABASES)
async def engine(request: pytest.FixtureRequest, tmp_path: Path, provider: TracerProvider) -> Any:
    """A user's engine, instrumented."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'shop.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url").replace("postgresql://", "postgresql+asyncpg://")
    engine = create_async_engine(url)
    instrumentor = SQLAlchemyInstrumentor()
    # The instrumentation asks for SQLAlchemy below 2.1, and works with it.
    instrumentor.instrument(engine=engine.sync_engine, tracer_provider=provider, skip_dep_check=True)
    yield engine
    instrumentor.uninstrument()
    await engine.dispose()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_step_on_a_server_is_one_span_in_the_one_of_its_guard(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, store: TraceStore
) -> None:
    name = unique("api")
    async with opened(request, kind, tmp_path) as backend:
        await RateLimiter(name, per_minute(10), store=backend.states).acquire("me")

    step = [] if kind == "memory" else [(1, f"transact limiter/{name}")]
    assert traces(store) == [[(0, f"RateLimiter {name}"), *step]]
    for span in steps(store):
        assert span.kind == "client"
        assert span.attributes["db.system.name"] == SYSTEMS[kind]
        assert ("server.address" in span.attributes) == (kind != "sqlite")


@pytest.mark.parametrize("kind", BLOCKING_KINDS[1:])
def test_so_it_is_without_a_loop(request: pytest.FixtureRequest, tmp_path: Path, kind: str, store: TraceStore) -> None:
    name = unique("api")
    with opened_blocking(request, kind, tmp_path) as backend:
        blocking(RateLimiter(name, per_minute(10), store=backend.states)).acquire("me")
    assert traces(store) == [[(0, f"RateLimiter {name}"), (1, f"transact limiter/{name}")]]


@pytest.mark.parametrize("kind", KINDS[1:])
async def test_each_verb_of_the_port_has_its_name(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, store: TraceStore
) -> None:
    async with opened(request, kind, tmp_path) as backend:
        cells = backend.states.cells(Space("stock", JsonCodec(str, str)))
        assert await cells.read("k") is None
        await cells.delete("k")
    assert sorted(span.name for span in steps(store)) == ["delete stock", "read stock"]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_announcement_makes_no_span(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, store: TraceStore
) -> None:
    async with opened(request, kind, tmp_path) as backend:
        await backend.signals.notify(unique("sold"))
    assert traces(store) == []


async def test_a_step_that_fails_says_so_and_shows_no_password(store: TraceStore) -> None:
    backend = RedisBackend.from_url("redis://me:hush@127.0.0.1:1/0", timeout_s=0.5)
    async with backend:
        with pytest.raises(BackendUnavailable):
            await backend.states.cells(Space("stock", JsonCodec(str, str))).read("k")
    (span,) = steps(store)
    assert (span.attributes["server.address"], span.attributes["server.port"]) == ("127.0.0.1", 1)
    assert span.attributes["error.type"] == "BackendUnavailable"
    assert "hush" not in str(span.as_json())


async def test_statements_in_a_users_transaction_stand_in_the_guards_span(
    engine: AsyncEngine, store: TraceStore
) -> None:
    backend = SQLBackend(engine)
    async with backend:
        await backend.create()
        async with engine.begin() as connection:
            name = unique("api")
            await RateLimiter(name, per_minute(10), store=backend.within(connection).states).acquire("me")
    (drawn,) = [rows for rows in traces(store) if rows[0] == (0, f"RateLimiter {name}")]
    assert {depth for depth, _ in drawn[1:]} == {1}
    verbs = [row.split()[0] for _, row in drawn[1:]]
    assert verbs[-3:] in (["SELECT", "INSERT", "RELEASE"], ["SELECT", "WITH", "RELEASE"])


async def test_statements_of_the_backends_own_connections_are_not_seen(engine: AsyncEngine, store: TraceStore) -> None:
    name = unique("api")
    backend = SQLBackend(engine)
    async with backend:
        await backend.create()
        await RateLimiter(name, per_minute(10), store=backend.states).acquire("me")
    assert [rows for rows in traces(store) if rows != [(0, "connect")]] == [
        [(0, f"RateLimiter {name}"), (1, f"transact limiter/{name}")]
    ]


async def test_a_users_own_statement_stands_in_the_guard_around_it(engine: AsyncEngine, store: TraceStore) -> None:
    async def look() -> None:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    await Bulkhead("slots", concurrent_max=2).call(look)
    (drawn,) = traces(store)
    assert [(depth, name.split()[0]) for depth, name in drawn] == [(0, "Bulkhead"), (1, "connect"), (1, "SELECT")]


async def test_redis_py_is_seen_and_the_backends_own_wire_is_one_span_all_the_same(
    valkey_url: str, provider: TracerProvider, store: TraceStore
) -> None:
    name, instrumentor = unique("api"), RedisInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        async with RedisBackend.from_url(valkey_url) as backend, redis.asyncio.Redis.from_url(valkey_url) as client:
            await RateLimiter(name, per_minute(10), store=backend.states).acquire("me")
            await Bulkhead("slots", concurrent_max=2).call(client.get, name)
    finally:
        instrumentor.uninstrument()
    assert traces(store) == [
        [(0, "Bulkhead slots"), (1, "GET")],
        [(0, f"RateLimiter {name}"), (1, f"transact limiter/{name}")],
    ]
