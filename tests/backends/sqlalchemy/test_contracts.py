"""The contracts on SQLite and Postgres, in a loop and in eight threads without one."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.testing.contracts import (
    BackendContract,
    BackendUnderTest,
    CancelledSignalsContract,
    CancelledStatesContract,
    PreciseSignalsContract,
    SharedSignalsContract,
    SignalBusContract,
    StateStoreContract,
    StoredStatesContract,
)


class SQL(BackendContract):
    driver: ClassVar[str]
    url: str

    def build(self) -> BackendUnderTest:
        # The contracts say nothing of power cuts; waiting for the disk is most of their time otherwise.
        return SQLBackend(self.url, durable=False)


class OnSQLite(SQL):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.url = f"{self.driver}:///{tmp_path}/cells.db"


class OnPostgres(SQL):
    @pytest.fixture(autouse=True)
    def _database(self, postgres_url: str) -> None:
        self.url = postgres_url.replace("postgresql:", f"{self.driver}:")


class TestSQLiteStatesUnderAsyncio(OnSQLite, StateStoreContract, CancelledStatesContract, StoredStatesContract):
    runtime = "asyncio"
    driver = "sqlite+aiosqlite"


class TestSQLiteStatesInThreads(OnSQLite, StateStoreContract, StoredStatesContract):
    runtime = "blocking"
    driver = "sqlite"


class TestPostgresStatesUnderAsyncio(OnPostgres, StateStoreContract, CancelledStatesContract, StoredStatesContract):
    runtime = "asyncio"
    driver = "postgresql+asyncpg"


@pytest.mark.nightly
class TestPostgresStatesInThreads(OnPostgres, StateStoreContract, StoredStatesContract):
    runtime = "blocking"
    driver = "postgresql+psycopg"


class TestSQLiteSignalsUnderAsyncio(OnSQLite, SignalBusContract, CancelledSignalsContract, SharedSignalsContract):
    runtime = "asyncio"
    driver = "sqlite+aiosqlite"


class TestSQLiteSignalsInThreads(OnSQLite, SignalBusContract, SharedSignalsContract):
    runtime = "blocking"
    driver = "sqlite"


class TestPostgresSignalsUnderAsyncio(
    OnPostgres, SignalBusContract, CancelledSignalsContract, SharedSignalsContract, PreciseSignalsContract
):
    runtime = "asyncio"
    driver = "postgresql+asyncpg"


@pytest.mark.nightly
class TestPostgresSignalsInThreads(OnPostgres, SignalBusContract, SharedSignalsContract, PreciseSignalsContract):
    runtime = "blocking"
    driver = "postgresql+psycopg"
