"""The contracts of logs on SQLite and Postgres, in a loop and in eight threads without one."""

from __future__ import annotations

import pytest

from sdpatterns.testing.contracts import (
    CancelledLogContract,
    EventLogContract,
    SharedLogContract,
    TransactionalLogContract,
)
from tests.backends.sqlalchemy.stages import OnPostgres, OnSQLite
from tests.contracts.brief import BriefLogContract


class EveryLog(EventLogContract, SharedLogContract, TransactionalLogContract):
    """What all of them keep."""


class TestSQLiteLogsUnderAsyncio(OnSQLite, EveryLog, CancelledLogContract):
    runtime = "asyncio"
    driver = "sqlite+aiosqlite"


class TestSQLiteLogsInThreads(OnSQLite, EveryLog):
    runtime = "blocking"
    driver = "sqlite"


class TestPostgresLogsUnderAsyncio(OnPostgres, EveryLog, CancelledLogContract):
    runtime = "asyncio"
    driver = "postgresql+asyncpg"


@pytest.mark.nightly
class TestPostgresLogsInThreads(OnPostgres, BriefLogContract):
    runtime = "blocking"
    driver = "postgresql+psycopg"


@pytest.mark.long
class TestEveryPromiseOfPostgresLogsInThreads(OnPostgres, EveryLog):
    runtime = "blocking"
    driver = "postgresql+psycopg"
