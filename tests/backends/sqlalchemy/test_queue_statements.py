"""What the statements of queues do on the server: their number, their plans, and what they leave behind."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Sequence
from typing import Any

import asyncpg
import psycopg
import pytest

from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.backends.sqlalchemy.engine.transactions import AsyncpgTransaction, Statement
from sdpatterns.backends.sqlalchemy.postgres import queue_statements
from sdpatterns.errors import OutcomeUnknown
from sdpatterns.ports.queue import Complete, Message, MessageQueue, Requeue
from sdpatterns.testing.servers import postgres_process
from tests.backends.everywhere import PATIENCE_S, unique
from tests.backends.sqlalchemy.proxy import Cut, Proxy

pytestmark = pytest.mark.anyio


def fresh(count: int, **words: Any) -> list[Message]:
    return [Message(id=uuid.uuid4().hex, payload=b"x" * 50, **words) for _ in range(count)]


async def test_two_hundred_settles_of_as_many_callers_are_one_statement(
    postgres_async_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Statement] = []
    fetch = AsyncpgTransaction.fetch

    async def seen(self: AsyncpgTransaction, statement: Statement, /, *parameters: Any) -> Sequence[Sequence[Any]]:
        # Notifications go on a connection of their own.
        if "pg_notify" not in statement.sql:
            sent.append(statement)
        return await fetch(self, statement, *parameters)

    async with SQLBackend(postgres_async_url, timeout_s=PATIENCE_S) as backend:
        await backend.create()
        queue = backend.queue(unique("one"))
        monkeypatch.setattr(AsyncpgTransaction, "fetch", seen)
        assert all(await asyncio.gather(*[queue.publish([message]) for message in fresh(200)]))
        claims = (await queue.claim(200, 600.0)).messages
        await asyncio.gather(*[queue.extend([claimed], 600.0) for claimed in claims])
        settled = await asyncio.gather(*[queue.settle([Complete(claimed)]) for claimed in claims])
    assert settled == [[True]] * 200
    assert sent == [queue_statements.INSERT, queue_statements.CLAIM, queue_statements.EXTEND, queue_statements.COMPLETE]


async def plan(connection: asyncpg.Connection[Any], statement: Statement, *parameters: Any) -> str:
    """Without the arrays in it."""
    await connection.execute("SET enable_seqscan = off")
    rows = await connection.fetch(f"EXPLAIN {statement.numbered}", *statement.written(parameters))
    return re.sub(r"'\{.*?\}'", "...", "\n".join(row[0] for row in rows))


@pytest.mark.parametrize("statistics", ["ANALYZE", "VACUUM", "of an empty table"])
async def test_statements_find_rows_by_the_right_index_whatever_the_statistics_say(
    postgres_url: str, postgres_async_url: str, statistics: str
) -> None:
    """With the condition `state = 1` in the DELETE a trial completed a fiftieth as many after ANALYZE."""
    connection = await asyncpg.connect(postgres_url)
    async with SQLBackend(postgres_async_url, timeout_s=PATIENCE_S) as backend:
        await backend.create()
        queue = backend.queue(unique("plans"))
        if statistics == "of an empty table":
            await connection.execute("TRUNCATE sdp_messages")
            await connection.execute("VACUUM ANALYZE sdp_messages")
        await queue.publish(fresh(2000))
        claims = (await queue.claim(200, 600.0)).messages
        if statistics in {"ANALYZE", "VACUUM"}:
            await connection.execute(f"{statistics} sdp_messages")
        pairs = [claimed.id for claimed in claims], [claimed.fence for claimed in claims]
        for statement, more in (
            (queue_statements.COMPLETE, ()),
            (queue_statements.EXTEND, (1000, 0)),
            (queue_statements.HOLD, ()),
        ):
            shown = await plan(connection, statement, queue.name, *pairs, *more)
            scans = set(re.findall(r"(?:using|on) (sdp_messages_\w+)", shown))
            assert scans == {"sdp_messages_pkey"}, shown
            assert re.search(r"Index Cond: \(\(queue = [^)]*\) AND \(id = w", shown), shown
            assert "Seq Scan" not in shown
        shown = await plan(connection, queue_statements.CLAIM, queue.name, "", 200, 1000, 0)
        scans = set(re.findall(r"(?:using|on) (sdp_messages_\w+)", shown))
        assert scans == {"sdp_messages_pkey", "sdp_messages_due", "sdp_messages_later"}, shown
        assert "Seq Scan" not in shown
        assert await queue.settle([Complete(claimed) for claimed in claims]) == [True] * 200
    await connection.close()


@pytest.mark.nightly
@pytest.mark.parametrize("count", [4000, pytest.param(100_000, marks=pytest.mark.long)])
def test_dead_rows_are_bounded(count: int) -> None:
    """Two dead rows for each message, which the settings of the table let autovacuum remove soon."""
    with postgres_process() as (_, url):
        with psycopg.connect(url, autocommit=True) as admin:
            # As it would be in a minute.
            admin.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
            admin.execute("SELECT pg_reload_conf()")
        asyncio.run(_work(url, count))


async def _work(url: str, count: int) -> None:
    connection = await asyncpg.connect(url)
    async with SQLBackend(url.replace("postgresql:", "postgresql+asyncpg:"), timeout_s=PATIENCE_S) as backend:
        await backend.create()
        queue = backend.queue("dead")
        for _ in range(count // 200):
            await queue.publish(fresh(200))
            claims = (await queue.claim(200, 600.0)).messages
            assert all(await queue.settle([Complete(claimed) for claimed in claims]))
        dead = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'sdp_messages'"
        for _ in range(600):
            # By Postgres's own settings it would wait for a fifth of the table, or stop for 2 ms after each few pages.
            if (left := await connection.fetchval(dead)) <= 2500:
                break
            await asyncio.sleep(0.2)
        size = await connection.fetchval("SELECT pg_total_relation_size('sdp_messages')")
        assert left <= 2500
        # Without any room used again it would be 600 bytes for each message and more.
        assert size < 20_000_000
        assert (await queue.depth())[:4] == (0, 0, 0, 0)
    await connection.close()


@pytest.fixture
async def behind(proxy: Proxy) -> Any:
    """A queue behind a wire that can be cut, whose connection has been made."""
    async with SQLBackend(proxy.url("asyncpg"), timeout_s=5.0) as backend:
        await backend.create()
        queue = backend.queue(unique("lost"))
        for _ in range(2):
            await queue.publish(fresh(1))
            claims = (await queue.claim(10, 600.0)).messages
            await queue.extend(claims, 600.0)
            await queue.settle([Complete(claimed) for claimed in claims])
        # The connection that notifies is made now, so that no cut can hit it while it is made.
        await backend.signals.notify(unique("lost"))
        yield queue


async def test_a_publish_that_loses_its_reply_happens_once(behind: MessageQueue, proxy: Proxy) -> None:
    [message] = fresh(1)
    proxy.cut("before")
    assert await behind.publish([message]) == [True]
    assert proxy.cuts == 1
    [again] = fresh(1)
    proxy.cut("after")
    with pytest.raises(OutcomeUnknown, match="done by another client"):
        await behind.publish([again])
    assert await behind.publish([again]) == [False]
    assert (await behind.depth()).due == 2


@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_settle_that_loses_its_reply_happens_once(behind: MessageQueue, proxy: Proxy, where: Cut) -> None:
    await behind.publish(fresh(2))
    claims = (await behind.claim(10, 600.0)).messages
    proxy.cut(where)
    if where == "before":
        assert await behind.settle([Complete(claims[0])]) == [True]
    else:
        with pytest.raises(OutcomeUnknown):
            await behind.settle([Complete(claims[0])])
    assert await behind.settle([Complete(claims[0]), Requeue(claims[1])]) == [False, True]
    assert (await behind.depth())[:3] == (1, 0, 0)


@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_claim_and_an_extension_that_lose_their_reply_are_made_again(
    behind: MessageQueue, proxy: Proxy, where: Cut
) -> None:
    await behind.publish(fresh(2))
    proxy.cut(where)
    claims = (await behind.claim(1, 600.0)).messages
    assert len(claims) == 1
    expected = 2 if where == "after" else 1
    async with asyncio.timeout(PATIENCE_S):
        # The server may still be at the claim whose reply was lost.
        while (await behind.depth()).leased != expected:  # noqa: ASYNC110 - the server has no event
            await asyncio.sleep(0.01)
    proxy.cut(where)
    assert await behind.extend(claims, 600.0) == [True]
    assert proxy.cuts == 2


async def test_a_payload_that_the_database_refuses_harms_only_its_own_caller(postgres_async_url: str) -> None:
    async with SQLBackend(postgres_async_url, timeout_s=PATIENCE_S) as backend:
        await backend.create()
        queue = backend.queue(unique("bad"))
        [bad] = fresh(1)
        object.__setattr__(bad, "payload", "no bytes")
        work = [queue.publish([message]) for message in [*fresh(3), bad, *fresh(3)]]
        ended = await asyncio.gather(*work, return_exceptions=True)
        assert [end == [True] for end in ended] == [True] * 3 + [False] + [True] * 3
        assert isinstance(ended[3], Exception)
