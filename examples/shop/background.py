"""Loops that belong to a service: started with it, ended with it, never behind its back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def alongside(*loops: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run endless loops during a block; they are cancelled and awaited at its end."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
