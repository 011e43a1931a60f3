"""A loop in virtual time on which tasks belong to nodes, and a node can stand still or be gone.

```
a node stands still      what it would run now is put aside, in order, and runs when it goes on
a node crashes           the same, and it never goes on: no `finally` of it runs, nothing is thrown into it
```
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any, TypeVarTuple, Unpack

from sdpatterns.core.clock import SYSTEM
from sdpatterns.testing.loop import VirtualLoop

__all__ = ["Life", "NodeLoop", "NotEnded", "life_here"]

_Ts = TypeVarTuple("_Ts")


class Life:
    """One life of a node, from its start to its crash. While it stands still nothing of it runs.

    `shift_us` is what the node's own wall clock shows more than the true time; a step of the clock adds to it.
    `went_on_us` is the true time at which it went on last.
    """

    __slots__ = ("is_over", "is_still", "put_aside", "shift_us", "tasks", "times_still", "went_on_us")

    def __init__(self, shift_us: int = 0) -> None:
        self.is_over = False
        self.is_still = False
        self.times_still = 0
        self.went_on_us = 0
        self.shift_us = shift_us
        self.put_aside: list[asyncio.Handle] = []
        # The loop keeps only weak references, and a task that is collected would run its `finally`.
        self.tasks: list[asyncio.Task[Any]] = []

    def stand_still(self) -> None:
        """Run nothing of this node from now on."""
        self.is_still = True
        self.times_still += 1

    def go_on(self, loop: NodeLoop) -> None:
        """Run what was put aside, in its order, and all that comes."""
        self.is_still = False
        self.went_on_us = loop.clock.now_us()
        loop.take_up(self.put_aside)
        self.put_aside = []


_LIFE: ContextVar[Life | None] = ContextVar("sdpatterns_life", default=None)


def life_here() -> Life | None:
    """The life of the node whose code is running; None for what belongs to no node."""
    return _LIFE.get()


class _Numbered(asyncio.Task[Any]):
    """A task whose place in a set is told by its number, not by its address, so that it is the same in every run."""

    def __init__(self, number: int, coro: Coroutine[Any, Any, Any], **options: Any) -> None:
        self._number = number
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._number


_run_handle: Callable[[asyncio.Handle], None] = asyncio.Handle._run  # noqa: SLF001 - `super()` costs more, each turn


class _OwnedHandle(asyncio.Handle):
    __slots__ = ()

    def _run(self) -> None:
        life = self._context.get(_LIFE)  # type: ignore[attr-defined]
        if life is None or not life.is_still:
            _run_handle(self)
        else:
            life.put_aside.append(self)


class _OwnedTimer(asyncio.TimerHandle):
    __slots__ = ()

    def _run(self) -> None:
        life = self._context.get(_LIFE)  # type: ignore[attr-defined]
        if life is None or not life.is_still:
            _run_handle(self)
        else:
            life.put_aside.append(self)


class NotEnded(RuntimeError):
    """Tasks went on although they were cancelled."""


class NodeLoop(VirtualLoop):
    """A `VirtualLoop` for several nodes. `trace` is a number that sums up when it did how much.

    After `last_s`, in its own seconds, it raises `NotEnded`.

    **Keeps**: the same seed and program give the same order of all tasks, in any process.
    """

    def __init__(self, *, seed: int) -> None:
        super().__init__(seed=seed)
        self.trace = 0
        self.last_s = math.inf
        self._made = 0
        self.set_task_factory(self._task)  # type: ignore[arg-type]
        self._true_us = SYSTEM.now_us
        SYSTEM.now_us = self._node_now_us

    def context_of(self, life: Life) -> Context:
        """A new context whose code belongs to that life."""
        context = Context()
        context.run(_LIFE.set, life)
        return context

    def take_up(self, handles: list[asyncio.Handle]) -> None:
        """Run these in the next turn."""
        self._ready.extend(handles)

    def call_at(
        self, when: float, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As any loop, for the node that calls."""
        self._check_closed()  # type: ignore[attr-defined]
        timer = _OwnedTimer(when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]
        timer._scheduled = True  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio's own loop does so
        return timer

    def close(self) -> None:
        """Close the loop, and give the clock back."""
        if not self.is_closed():
            SYSTEM.now_us = self._true_us
        super().close()

    def _node_now_us(self) -> int:
        life = _LIFE.get()
        return self._true_us() if life is None else self._true_us() + life.shift_us

    def _task(self, _: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
        self._made += 1
        task = _Numbered(self._made, coro, loop=self, **options)
        context = options.get("context")
        life = _LIFE.get() if context is None else context.get(_LIFE)
        if life is not None:
            life.tasks.append(task)
        return task

    def _call_soon(self, callback: Any, args: Any, context: Context | None) -> asyncio.Handle:
        handle = _OwnedHandle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def _run_once(self) -> None:
        super()._run_once()
        if self.time() > self.last_s:
            self.last_s = math.inf
            raise NotEnded("tasks went on for an hour after they had been cancelled")
        self.trace = hash((self.trace, self.clock.passed_us, self._made, len(self._ready)))
