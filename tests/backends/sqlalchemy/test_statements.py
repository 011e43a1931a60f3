"""One text of SQL on each driver, and what becomes of its parameters on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine

from sdpatterns.backends.sqlalchemy.engine.failures import is_bad_value, is_server_error
from sdpatterns.backends.sqlalchemy.engine.transactions import (
    AsyncpgTransaction,
    NotWritten,
    PsycopgTransaction,
    Statement,
    ViewTransaction,
)
from sdpatterns.core.runtime import finish

pytestmark = pytest.mark.anyio

TEXTS = [
    "",
    "plain",
    'a "quoted" word',
    "back\\slash",
    '\\"',
    "{a,b}",
    "NULL",
    " ",
    "%s %(x)s :texts $1",
    "é€😀\n",
    None,
]
NUMBERS = [0, 1, -1, 2**63 - 1, -(2**63), *range(6)]
BLOBS = [b"", b"\x00", bytes(range(256)), b"\\x41", b'"', None, *([b"{}"] * 5)]
ECHO = Statement(
    "SELECT w.*, :one FROM unnest(:texts, :numbers, :blobs) AS w (t, n, b)",
    texts="text[]",
    numbers="bigint[]",
    blobs="bytea[]",
    one="bigint",
)
SENT = [(text, number, blob, 7) for text, number, blob in zip(TEXTS, NUMBERS, BLOBS, strict=True)]


def shown(rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    return [(row[0], row[1], None if row[2] is None else bytes(row[2]), row[3]) for row in rows]


async def test_arrays_arrive_on_asyncpg_as_they_were_sent(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    try:
        tx = AsyncpgTransaction(connection)
        assert shown(await tx.fetch(ECHO, TEXTS, NUMBERS, BLOBS, 7)) == SENT
        assert await tx.fetch(ECHO, [], [], [], 7) == []
    finally:
        await connection.close()


def test_arrays_arrive_on_psycopg_as_they_were_sent(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        tx = PsycopgTransaction(connection)
        assert shown(finish(tx.fetch(ECHO, TEXTS, NUMBERS, BLOBS, 7))) == SENT
        assert finish(tx.fetch(ECHO, [], [], [], 7)) == []


def test_arrays_arrive_through_sqlalchemy_as_they_were_sent(postgres_url: str) -> None:
    engine = create_engine(postgres_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        tx = ViewTransaction(connection)
        assert shown(finish(tx.fetch(ECHO, TEXTS, NUMBERS, BLOBS, 7))) == SENT
        assert finish(tx.fetch(ECHO, [], [], [], 7)) == []
    engine.dispose()


def test_a_parameter_of_the_wrong_type_is_the_fault_of_its_caller_alone(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        for texts, blobs in (([1], [b""]), (["a"], [object()]), (["a"], ["text"])):
            with pytest.raises(NotWritten) as raised:
                finish(PsycopgTransaction(connection).fetch(ECHO, texts, [1], blobs, 7))
            assert is_server_error(raised.value)
            assert is_bad_value(raised.value)


async def test_what_the_server_refuses_is_told_from_a_connection_that_broke(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    tx = AsyncpgTransaction(connection)
    with pytest.raises(asyncpg.PostgresError) as refused:
        await tx.fetch(ECHO, ["a"], [2**70], [b""], 7)
    assert is_server_error(refused.value)
    assert is_bad_value(refused.value)
    connection.terminate()
    with pytest.raises(asyncpg.InterfaceError) as broken:
        await tx.fetch(ECHO, ["a"], [1], [b""], 7)
    assert not is_server_error(broken.value)
    assert not is_bad_value(broken.value)


def test_psycopg_too_says_what_the_server_refused_and_what_broke(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        connection = psycopg.connect(postgres_url, autocommit=True)
        tx = PsycopgTransaction(connection)
        with pytest.raises(psycopg.Error) as refused:
            finish(tx.fetch(ECHO, ["a"], [2**70], [b""], 7))
        assert is_server_error(refused.value)
        assert is_bad_value(refused.value)
        admin.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
        with pytest.raises(psycopg.Error) as ended:
            finish(tx.fetch(ECHO, ["a"], [1], [b""], 7))
        assert not is_server_error(ended.value)
        connection.close()
        with pytest.raises(psycopg.Error) as closed:
            finish(tx.fetch(ECHO, ["a"], [1], [b""], 7))
        assert not is_server_error(closed.value)
