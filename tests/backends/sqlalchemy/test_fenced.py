"""A row that refuses an older fence, on SQLite and Postgres, in a loop and without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from sdpatterns.backends.sqlalchemy.fenced import FencedRows
from sdpatterns.errors import StaleFence
from tests.backends.everywhere import unique


def table_of_accounts(name: str = "accounts") -> sa.Table:
    return sa.Table(
        name,
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("balance", sa.Integer),
        sa.Column("fence", sa.BigInteger, nullable=False, default=0),
    )


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    if request.param == "sqlite":
        made = sa.create_engine(f"sqlite:///{tmp_path / 'rows.db'}")
    else:
        made = sa.create_engine(request.getfixturevalue("postgres_url").replace("://", "+psycopg://"))
    yield made
    made.dispose()


@pytest.fixture
def accounts(engine: sa.Engine) -> Iterator[sa.Table]:
    table = table_of_accounts(unique("accounts").replace("-", "_"))
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(sa.insert(table), [{"id": 1, "balance": 5}, {"id": 2, "balance": 7}])
    yield table
    table.drop(engine)


def test_a_read_and_a_write_raise_the_fence_of_their_row(engine: sa.Engine, accounts: sa.Table) -> None:
    rows, mine = FencedRows(accounts), accounts.c.id == 1
    with engine.begin() as connection:
        assert rows.read_now(connection, 10, mine).balance == 5
        rows.write_now(connection, 10, mine, balance=6)
    with engine.begin() as connection:
        assert rows.read_now(connection, 20, mine).balance == 6
    for late in (rows.read_now, rows.write_now):
        with engine.begin() as connection, pytest.raises(StaleFence) as refused:
            late(connection, 19, mine)
        assert (refused.value.presented, refused.value.seen) == (19, 20)
    with engine.begin() as connection:
        rows.write_now(connection, 20, mine, balance=8)
        rows.write_now(connection, 19, accounts.c.id == 2, balance=9)
        assert connection.execute(sa.select(accounts).order_by(accounts.c.id)).all() == [(1, 8, 20), (2, 9, 19)]


def test_a_row_that_is_not_there_is_no_late_holder(engine: sa.Engine, accounts: sa.Table) -> None:
    with engine.begin() as connection, pytest.raises(LookupError, match="no such row"):
        FencedRows(accounts).read_now(connection, 1, accounts.c.id == 3)


def test_a_table_without_the_column_is_named() -> None:
    with pytest.raises(ValueError, match="no column 'epoch'"):
        FencedRows(table_of_accounts(), column="epoch")


@pytest.mark.anyio
async def test_the_same_in_a_session_of_asyncio(tmp_path: Path) -> None:
    table = table_of_accounts()
    engine: Any = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'rows.db'}")
    async with engine.begin() as connection:
        await connection.run_sync(table.create)
        await connection.execute(sa.insert(table).values(id=1, balance=5))
    rows = FencedRows(table)
    async with AsyncSession(engine) as session, session.begin():
        row = await rows.read(session, 10, table.c.id == 1)
        await rows.write(session, 10, table.c.id == 1, balance=row.balance + 1)
    async with engine.begin() as connection:
        with pytest.raises(StaleFence):
            await rows.write(connection, 9, table.c.id == 1, balance=0)
        assert (await rows.read(connection, 10, table.c.id == 1)).balance == 6
    await engine.dispose()
