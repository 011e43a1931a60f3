"""Several keys of one lease at once, without a deadlock."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType

from sdpatterns.coordination.lease.held import Held, Holding
from sdpatterns.core.clock import SYSTEM

__all__ = ["HoldingAll"]


class HoldingAll:
    """`async with` around work that needs all of some keys; gives their `Held`, in the order in which they were named.

    **Keeps**: the work runs while all of them are held, and none is held when it does not. They are taken one after
    another in the order of their names, so that callers with the same keys wait for each other and never in a circle.
    A caller that holds other keys already, outside of this block, has to see to that itself.
    **May fail** with `LeaseNotGranted` where all together took longer than `wait_max_s`; `LeaseLost` when one is lost.
    **Costs** what each key costs. The first keys are held while the caller waits for the others.
    """

    def __init__(self, take: Callable[[str, float], Holding], keys: Sequence[str], wait_max_s: float) -> None:
        if not keys or len(set(keys)) != len(keys):
            raise ValueError("guard_all needs different keys, and at least one")
        self._take = take
        self._keys = tuple(keys)
        self._wait_max_s = wait_max_s
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> tuple[Held, ...]:
        until_s = SYSTEM.monotonic() + self._wait_max_s
        held: dict[str, Held] = {}
        try:
            # The same order in every process. Two callers with common keys then cannot each hold what the other waits
            # for.
            for key in sorted(self._keys):
                # One bound for all keys together: with one for each, a caller could wait `wait_max_s` times their
                # number.
                left_s = max(0.0, until_s - SYSTEM.monotonic())
                held[key] = await self._stack.enter_async_context(self._take(key, left_s))
        except BaseException:
            await self._stack.__aexit__(*sys.exc_info())
            raise
        return tuple(held[key] for key in self._keys)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, trace)
