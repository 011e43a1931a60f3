"""Which runtime runs here."""

from __future__ import annotations

import asyncio
import sys

from sdpatterns.core.runtime.asyncio import ASYNCIO
from sdpatterns.core.runtime.blocking import BLOCKING
from sdpatterns.core.runtime.protocols import Runtime

__all__ = ["current"]


def current() -> Runtime:
    """The runtime that the caller runs under; the blocking one in a thread without a loop."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        from sdpatterns.core.runtime.trio import TRIO

        return TRIO
    # Documented for event loops; `get_running_loop` would raise, which costs ten times as much.
    return BLOCKING if asyncio._get_running_loop() is None else ASYNCIO  # noqa: SLF001
