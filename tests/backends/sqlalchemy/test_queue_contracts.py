"""The contracts of queues on SQLite and Postgres, in a loop and in eight threads without one."""

from __future__ import annotations

import pytest

from sdpatterns.testing.contracts import (
    CancelledQueueContract,
    MessageQueueContract,
    SharedQueueContract,
    TransactionalQueueContract,
)
from tests.backends.sqlalchemy.stages import OnPostgres, OnSQLite
from tests.contracts.brief import BriefQueueContract


class EveryQueue(MessageQueueContract, SharedQueueContract, TransactionalQueueContract):
    """What all of them keep."""


class TestSQLiteQueuesUnderAsyncio(OnSQLite, EveryQueue, CancelledQueueContract):
    runtime = "asyncio"
    driver = "sqlite+aiosqlite"


class TestSQLiteQueuesInThreads(OnSQLite, BriefQueueContract, TransactionalQueueContract):
    runtime = "blocking"
    driver = "sqlite"


@pytest.mark.long
class TestEveryPromiseOfSQLiteQueuesInThreads(OnSQLite, EveryQueue):
    runtime = "blocking"
    driver = "sqlite"


class TestPostgresQueuesUnderAsyncio(OnPostgres, EveryQueue, CancelledQueueContract):
    runtime = "asyncio"
    driver = "postgresql+asyncpg"


@pytest.mark.nightly
class TestPostgresQueuesInThreads(OnPostgres, BriefQueueContract):
    runtime = "blocking"
    driver = "postgresql+psycopg"


@pytest.mark.long
class TestEveryPromiseOfPostgresQueuesInThreads(OnPostgres, EveryQueue):
    runtime = "blocking"
    driver = "postgresql+psycopg"
