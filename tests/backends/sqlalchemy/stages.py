"""SQLite and Postgres as contracts see them, in a loop and in threads without one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar, cast

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.testing.contracts import BackendContract, BackendUnderTest
from tests.backends.everywhere import PATIENCE_S

__all__ = ["OnPostgres", "OnSQLite"]


class SessionInLoop:
    """A session of asyncio, and the ports on it."""

    def __init__(self, session: AsyncSession, backend: SQLBackend) -> None:
        self.commit = session.commit
        self.rollback = session.rollback
        self.ports = backend.within(session)


class SessionInThread:
    """The same of a plain session, whose methods are awaited all the same."""

    def __init__(self, session: Session, backend: SQLBackend) -> None:
        self._session = session
        self.ports = backend.within(session)

    async def commit(self) -> None:
        self._session.commit()

    async def rollback(self) -> None:
        self._session.rollback()


class SQL(BackendContract):
    """A backend in SQL, and the caller's transactions beside it."""

    writers_at_once: ClassVar[bool] = True
    driver: ClassVar[str]
    url: str

    def build(self) -> BackendUnderTest:
        # The contracts say nothing of power cuts; waiting for the disk is most of their time otherwise.
        return SQLBackend(self.url, durable=False, timeout_s=PATIENCE_S)

    @asynccontextmanager
    async def transaction(self, backend: BackendUnderTest, /) -> AsyncIterator[SessionInLoop | SessionInThread]:
        sql = cast("SQLBackend", backend)
        # On SQLite it waits for the other writers, who have no order.
        patience = {} if self.writers_at_once else {"timeout": PATIENCE_S}
        if self.runtime == "asyncio":
            engine = create_async_engine(self.url, connect_args=patience)
            try:
                async with AsyncSession(engine) as session:
                    yield SessionInLoop(session, sql)
            finally:
                await engine.dispose()
        else:
            plain = create_engine(self.url, connect_args=patience)
            try:
                with Session(plain) as inner:
                    yield SessionInThread(inner, sql)
            finally:
                plain.dispose()


class OnSQLite(SQL):
    writers_at_once = False

    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.url = f"{self.driver}:///{tmp_path}/contract.db"


class OnPostgres(SQL):
    @pytest.fixture(autouse=True)
    def _database(self, postgres_url: str) -> None:
        self.url = postgres_url.replace("postgresql:", f"{self.driver}:")
