"""Where the library keeps its state for a context: a SQLite file, or a database on Postgres in a fleet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.errors import BackendError
from shop.background import alongside
from shop.database import Storage
from shop.sqlite import check_keys, url_of

_SWEEP_S = 60.0


@asynccontextmanager
async def pattern_backend(storage: Storage) -> AsyncIterator[SQLBackend]:
    """A backend for the length of the block; once a minute it deletes the state whose time is over."""
    if isinstance(storage, Path):
        check_keys(storage)
    async with pattern_tables(storage) as backend:
        yield backend


@asynccontextmanager
async def pattern_tables(storage: Storage) -> AsyncIterator[SQLBackend]:
    """The same beside a context's own tables, in a database that is open: both can be in one transaction."""

    async def sweep() -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            with contextlib.suppress(BackendError):
                await backend.sweep()

    async with SQLBackend(url_of(storage) if isinstance(storage, Path) else storage) as backend:
        await backend.create()
        async with alongside(sweep()):
            yield backend
