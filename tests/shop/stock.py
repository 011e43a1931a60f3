"""The data of a shop that has just been opened for the first time, made once and copied for each test."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .visitor import visiting

FRESH_S = 60.0
"""Drops open minutes after the first start, so older data is made again."""


class Stocked:
    def __init__(self, folder: Path) -> None:
        self._places = (folder / f"data{number}" for number in itertools.count())
        self._data = next(self._places)
        self._made_s: float | None = None

    def copy_to(self, data_dir: Path) -> None:
        if self._made_s is None or time.monotonic() - self._made_s > FRESH_S:
            self._data, self._made_s = next(self._places), time.monotonic()
            with ThreadPoolExecutor(1) as thread:  # a loop may be running in this one
                thread.submit(asyncio.run, self._open_once()).result()
        shutil.copytree(self._data, data_dir)

    async def _open_once(self) -> None:
        async with visiting(self._data):
            pass
