"""The shop's SQLite files: what a cancelled caller leaves behind."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
from pathlib import Path

import aiosqlite
import pytest
from sqlalchemy import MetaData

from shop.database import Database

pytestmark = pytest.mark.anyio


async def test_a_caller_cancelled_while_a_file_is_opened_leaves_it_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[sqlite3.Connection] = []
    reading = asyncio.Event()
    connect = aiosqlite.core.sqlite3.connect

    def noted(*args: object, **kwargs: object) -> sqlite3.Connection:
        loop.call_soon_threadsafe(reading.set)
        opened.append(connect(*args, **kwargs))  # type: ignore[call-overload]
        return opened[-1]

    loop = asyncio.get_running_loop()
    async with Database.opened(tmp_path / "a.db", MetaData()) as database:
        monkeypatch.setattr(aiosqlite.core.sqlite3, "connect", noted)
        caller = asyncio.ensure_future(database.read().__aenter__())
        await reading.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        monkeypatch.undo()
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].total_changes  # noqa: B018 - asked for its refusal
