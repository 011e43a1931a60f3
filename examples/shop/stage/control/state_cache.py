"""The last look at the shop: shared by all open pages, and never waited for beyond a limit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from shop.problems import Problem

_log = logging.getLogger("shop.control")
REFRESH_MAX_S = 8.5  # longer than all questions of a look may take

State = dict[str, Any]


class CachedState(NamedTuple):
    """A state, and how old it is; None as long as nothing has been seen."""

    state: State
    age_s: float | None


class StateCache:
    """Looks at the shop on demand, one look at a time.

    Keeps: `get` answers within `patience_s`, with the last state when a newer one takes longer or fails;
    no look runs longer than `REFRESH_MAX_S`, so that one question without an answer cannot hold the next look.
    """

    def __init__(self, read: Callable[[], Awaitable[State]], unseen: State) -> None:
        self._read = read
        self._last = unseen
        self._began_s: float | None = None
        self._running: asyncio.Task[bool] | None = None

    async def get(self, age_max_s: float, patience_s: float) -> CachedState:
        """The state as of a look that began at most `age_max_s` before this call, or the last there is."""
        wanted_s = time.monotonic() - age_max_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while self._began_s is None or self._began_s < wanted_s:
                    if not await asyncio.shield(self._refresh()):
                        break
        return CachedState(self._last, None if self._began_s is None else time.monotonic() - self._began_s)

    @property
    def last(self) -> State:
        """The last state, however old."""
        return self._last

    def _refresh(self) -> asyncio.Task[bool]:
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._read_once())
        return self._running

    async def _read_once(self) -> bool:
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(REFRESH_MAX_S):
                self._last = await self._read()
        except (Problem, TimeoutError) as error:
            _log.warning("a look at the shop failed", extra={"reason": repr(error)})
            return False
        except Exception:  # noqa: BLE001 - the page goes on with the last state, and shows how old it is
            _log.exception("a look at the shop failed")
            return False
        self._began_s = began_s
        return True

    async def aclose(self) -> None:
        """End the look that is running."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
