"""Pauses that take no time."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from sdpatterns.core.runtime import ASYNCIO, BLOCKING
from sdpatterns.testing.clock import VirtualClock

__all__ = ["pauses_pass_on"]


@contextmanager
def pauses_pass_on(clock: VirtualClock) -> Iterator[None]:
    """Inside the block, each pause of a runtime ends at once and moves `clock` forward by its length.

    A pause stays a checkpoint: other tasks get their turn, and a cancellation is seen.
    """
    with ExitStack() as stack:
        stack.enter_context(_patched(ASYNCIO, _passing(clock, lambda: asyncio.sleep(0))))
        stack.enter_context(_patched(BLOCKING, _passing(clock, _nothing)))
        if "trio" in sys.modules:
            import trio

            from sdpatterns.core.runtime.trio import TRIO

            stack.enter_context(_patched(TRIO, _passing(clock, trio.lowlevel.checkpoint)))
        yield


def _passing(clock: VirtualClock, checkpoint: Callable[[], Awaitable[Any]]) -> Callable[[float], Awaitable[None]]:
    async def passing(seconds: float, /) -> None:
        clock.advance(max(0.0, seconds))
        await checkpoint()

    return passing


def _patched(runtime: object, sleep: Callable[[float], Awaitable[None]]) -> Any:
    return mock.patch.object(runtime, "sleep", sleep)


async def _nothing() -> None:
    return None
