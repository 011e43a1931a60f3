"""Databases for the tests of this backend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.core.runtime import finish
from tests.backends.sqlalchemy.proxy import Proxy


@pytest.fixture
def sqlite_path(tmp_path: Path) -> Path:
    return tmp_path / "cells.db"


@pytest.fixture(params=["sqlite", "postgres"])
def async_url(request: pytest.FixtureRequest, sqlite_path: Path) -> str:
    """Each database in turn, for a loop."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{sqlite_path}"
    url: str = request.getfixturevalue("postgres_url")
    return url.replace("postgresql:", "postgresql+asyncpg:")


@pytest.fixture
def blocking_url(async_url: str) -> str:
    """Each database in turn, for threads."""
    return async_url.replace("+aiosqlite", "").replace("+asyncpg", "+psycopg")


@pytest.fixture
def postgres_async_url(postgres_url: str) -> str:
    return postgres_url.replace("postgresql:", "postgresql+asyncpg:")


@pytest.fixture
def engine(blocking_url: str) -> Iterator[Engine]:
    """A plain engine to look at the tables with."""
    with SQLBackend(blocking_url) as made:
        finish(made.create())
    engine = create_engine(blocking_url)
    yield engine
    engine.dispose()


@pytest.fixture
async def backend(async_url: str) -> AsyncIterator[SQLBackend]:
    async with SQLBackend(async_url) as backend:
        await backend.create()
        yield backend


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    with Proxy(postgres_url) as proxy:
        yield proxy
