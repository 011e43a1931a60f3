"""Tables that are made once, garbage that goes, and announcements between processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, inspect, text

from sdpatterns.backends.sqlalchemy import SQLBackend, metadata
from sdpatterns.backends.sqlalchemy.cells.rows import expiry_us, stored_text
from sdpatterns.backends.sqlalchemy.engine.dialect import payload
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.notices import Notice, listen
from sdpatterns.core.runtime import finish
from sdpatterns.ports.queue import DeadLettersDropped, Message, Park, QueueSettings
from sdpatterns.ports.states import Space
from sdpatterns.testing.contracts.steps import Add
from sdpatterns.testing.contracts.values import ODD_KEYS

pytestmark = pytest.mark.anyio


def test_creating_from_many_at_once(blocking_url: str) -> None:
    url = blocking_url
    if "postgresql" in url:
        admin = create_engine(url, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text("CREATE DATABASE created_at_once"))
        url = f"{url.rpartition('/')[0]}/created_at_once"

    def create(_: int) -> None:
        with SQLBackend(url) as backend:
            finish(backend.create())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(create, range(8)))
    engine = create_engine(url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM sdp_schema")).scalar_one() == 1
    assert set(inspect(engine).get_table_names()) == set(metadata.tables)
    engine.dispose()
    if "postgresql" in url:
        with admin.connect() as connection:
            connection.execute(text("DROP DATABASE created_at_once WITH (FORCE)"))
        admin.dispose()


def rows(engine: Engine, space: str) -> int:
    with engine.connect() as connection:
        query = text("SELECT count(*) FROM sdp_cells WHERE space = :space")
        return connection.execute(query, {"space": space}).scalar_one()


async def test_the_sweep_deletes_only_what_is_past_its_time_in_small_batches(
    backend: SQLBackend, engine: Engine, request: pytest.FixtureRequest
) -> None:
    space = f"upkeep/{request.node.name}"
    cells = backend.states.cells(Space(space, IntegersCodec()))
    for keep_s, names in ((60.0, "short"), (7200.0, "long")):
        work = [cells.transact(f"{names}{place}", Add(keep_s=keep_s)) for place in range(30)]
        await asyncio.gather(*work)
    await backend.sweep()
    assert rows(engine, space) == 60
    backend.shift(3600.0)
    # Dead letters that other tests left in the same database are counted too.
    assert await backend.sweep(limit=20) >= 20
    assert rows(engine, space) >= 40
    while await backend.sweep(limit=20):
        assert rows(engine, space) >= 30
    assert rows(engine, space) == 30
    assert (await cells.read("long7"), await cells.read("short7")) == ((1,), None)
    # A cell whose row is gone starts empty, and its time goes on.
    assert (await cells.transact("short7", Add()))[0] == 0


async def test_garbage_goes_by_itself_where_keys_come_and_go(
    backend: SQLBackend, engine: Engine, request: pytest.FixtureRequest
) -> None:
    space = f"upkeep/{request.node.name}"
    cells = backend.states.cells(Space(space, IntegersCodec()))
    backend.shift(1_000_000.0)
    while await backend.sweep(limit=10_000):
        pass  # what other tests left in the same table would be swept first
    for turn in range(30):
        await asyncio.gather(*(cells.transact(f"{turn}/{place}", Add(keep_s=1.0)) for place in range(200)))
        backend.shift(300.0)
    assert rows(engine, space) < 2000


async def test_a_depth_looks_at_a_bounded_number_of_messages(backend: SQLBackend, engine: Engine) -> None:
    """With a million messages it looked at each of them."""
    name = f"bounded {engine.dialect.name} {backend.runtime}"
    numbered = "" if engine.dialect.name == "postgresql" else "number, "
    # Of each ten: six are due, two delayed, and two behind another one of their key.
    columns = f"queue, id, {numbered}tenant, key, state, is_leased, due_us, rank_us, order_us, fence, attempt"
    insert = f"""INSERT INTO sdp_messages ({columns}, published_us, payload)
        WITH RECURSIVE g (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < :n)
        SELECT :queue, 'm' || n, {numbered and "n, "}'t' || (n % 20), CASE WHEN n % 10 > 7 THEN 'k' || (n % 100) END,
        CASE WHEN n % 10 < 6 THEN 0 WHEN n % 10 < 8 THEN 1 ELSE 2 END, false,
        CASE WHEN n % 10 BETWEEN 6 AND 7 THEN 9000000000000000 ELSE n END, 0, n, 0, 0, 0, :payload FROM g"""
    queue, lags_s = backend.queue(name), list[float]()
    for count in (1_000, 20_000):
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM sdp_messages WHERE queue = :queue"), {"queue": name})
            connection.execute(text(insert), {"queue": name, "n": count, "payload": b"x"})
        depth = await queue.depth()
        assert depth.at_least is (count == 20_000)
        expected = (600, 400, 0, 0) if count == 1_000 else (10_000, 8_000, 0, 0)
        assert depth[:4] == expected
        lags_s.append(depth.lag_s)
    assert all(lag_s > 1e9 for lag_s in lags_s), "the earliest is due since 1970"


async def test_dead_letters_of_a_queue_that_is_no_longer_used_are_swept_too(backend: SQLBackend) -> None:
    names, heard = [f"up\\keep {place}" for place in (1, 2)], list[Notice]()
    for name in names:
        queue = backend.queue(name, QueueSettings(parked_keep_s=1_000.0))
        await queue.publish([Message(id=f"{number}", payload=b"") for number in range(30)])
        await queue.settle([Park(each, "") for each in (await queue.claim(30, 60.0)).messages])
    backend.shift(900.0)
    while await backend.sweep():
        pass
    assert [(await backend.queue(name).depth()).parked for name in names] == [30, 30]
    backend.shift(200.0)
    with listen(heard.append):
        while await backend.sweep(limit=20):
            pass
    dropped = Counter[str]()
    for notice in heard:
        assert isinstance(notice, DeadLettersDropped)
        assert notice.count <= 20
        dropped[notice.name] += notice.count
    assert [dropped[name] for name in names] == [30, 30]


@given(st.integers(0, 2**52), st.floats(0.0, 1e12))
def test_garbage_is_never_early_and_little_late(now_us: int, keep_s: float) -> None:
    expires_us = expiry_us(now_us, keep_s)
    due_us = now_us + int(min(keep_s * 1_000_000, 2**61))
    assert due_us < expires_us <= due_us + max(2**20, due_us - now_us) // 8 + 2**20
    assert expires_us < 2**63


@pytest.mark.parametrize("keep_s", [float("inf"), 1e300, 0.0, -1.0])
def test_any_time_to_keep_fits_the_column(keep_s: float) -> None:
    assert 0 < expiry_us(1_800_000_000_000_000, keep_s) < 2**63


def test_different_keys_are_stored_differently_and_without_nul() -> None:
    keys = [*ODD_KEYS, "\\0", "\\\\0", "a\\", "\\", "\x00\\", "\\\x00"]
    stored = [stored_text(key) for key in dict.fromkeys(keys)]
    assert len(set(stored)) == len(stored)
    assert not any("\x00" in one for one in stored)


def test_different_topics_have_different_payloads_that_postgres_takes() -> None:
    topics = ["a", "=a", "#a", "", "t" * 9000, "t" * 9001, "\x00", "ключ", "\ud800", payload("t" * 9000)]
    payloads = [payload(topic) for topic in topics]
    assert len(set(payloads)) == len(topics)
    assert all(one.isascii() and "\x00" not in one and len(one) < 8000 for one in payloads)


OTHER = """
import sys
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.notices import Notice, listen
from sdpatterns.core.runtime import finish
from sdpatterns.ports.queue import DeadLettersDropped, Message, Park, QueueSettings
from sdpatterns.ports.states import Space
from sdpatterns.testing.contracts.steps import Add
from sdpatterns.ports.states import Space
with SQLBackend(sys.argv[1]) as backend:
    if sys.argv[2] == "announce":
        finish(backend.signals.notify("bell"))
    else:
        finish(backend.states.cells(Space("bells", IntegersCodec())).transact("a", Add(wake=("bell",))))
"""


@pytest.mark.parametrize("how", ["announce", pytest.param("wake", marks=pytest.mark.nightly)])
async def test_another_process_is_heard(backend: SQLBackend, blocking_url: str, how: str) -> None:
    async with backend.signals.subscribe("bell") as subscription:
        assert not await subscription.wait(0.2)
        words = [sys.executable, "-c", OTHER, blocking_url, how]
        await asyncio.to_thread(subprocess.run, words, check=True)
        assert await subscription.wait(60.0)


def test_less_durable_settings_are_set(sqlite_path: Path, postgres_url: str) -> None:
    for durable, level, commit in ((True, 2, "on"), (False, 1, "off")):
        with SQLBackend(f"sqlite:///{sqlite_path}", durable=durable) as backend:
            ask = "PRAGMA synchronous"
            assert finish(backend._on_one(lambda c, ask=ask: c.exec_driver_sql(ask).scalar_one())) == level  # type: ignore[misc]
        with SQLBackend(postgres_url.replace("postgresql:", "postgresql+psycopg:"), durable=durable) as backend:
            ask = "SHOW synchronous_commit"
            assert finish(backend._on_one(lambda c, ask=ask: c.exec_driver_sql(ask).scalar_one())) == commit  # type: ignore[misc]
