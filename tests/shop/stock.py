"""The data of a shop that has just been opened for the first time, made once and copied for each test."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from shop.settings import wall_clock_us

from .visitor import visiting


class Stocked:
    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        self._made_us: int | None = None

    def copy_to(self, data_dir: Path) -> None:
        if self._made_us is None:
            made_us = wall_clock_us()
            with ThreadPoolExecutor(1) as thread:  # a loop may be running in this one
                thread.submit(asyncio.run, self._open_once()).result()
            self._made_us = made_us
        shutil.copytree(self._data, data_dir)
        # Drops open minutes after the first start, and the first start is now.
        with closing(sqlite3.connect(data_dir / "catalog.sqlite3")) as catalog, catalog:
            catalog.execute("UPDATE products SET opens_at_us = opens_at_us + ?", (wall_clock_us() - self._made_us,))

    async def _open_once(self) -> None:
        async with visiting(self._data):
            pass
