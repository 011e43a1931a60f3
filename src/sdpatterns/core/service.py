"""Services: objects that work in the background for as long as a block lasts, and finish what they have begun.

```
async with worker:      starts            (or: await worker.run())
    ...                 works beside the block
end of the block        begins nothing new, finishes what it has ---> within drain_s, else it is cancelled
```

A worker of jobs, the relay of an outbox and the driver of sagas are services. None starts by itself, and
none outlives its block.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Literal, NamedTuple, Self, TypeAlias

from sdpatterns.core.runtime import Group, Waiter, current

__all__ = ["Health", "Service", "ServiceState"]

ServiceState: TypeAlias = Literal["new", "running", "draining", "ended", "failed"]


class Health(NamedTuple):
    """How a service is: for a readiness probe."""

    state: ServiceState
    error: BaseException | None = None

    @property
    def is_ready(self) -> bool:
        """Whether it takes new work."""
        return self.state == "running"


class Service(ABC):
    """Works in the background between the beginning and the end of a block.

    **Keeps**: nothing of it runs after the block. At the end of the block, and when the block is
    cancelled, the service gets `drain_s` seconds to finish what it has begun.
    **May fail** with what its work raised, bare: the block is cancelled then, where the runtime can
    interrupt it. RuntimeError where it runs already.
    **Costs** one task of its own, or a thread in a program without an event loop. A thread cannot be
    cancelled, so there the block ends no sooner than the work.
    """

    def __init__(self, name: str, *, drain_s: float = 30.0) -> None:
        if not 0 <= drain_s <= 86_400:
            raise ValueError(f"drain_s must be from 0 to 86400 seconds, got {drain_s!r}")
        self.name = name
        self.drain_s = drain_s
        self._health = Health("new")
        self._group: Group | None = None
        self._stop: Waiter | None = None
        self._leave: Waiter | None = None
        self._over: Waiter | None = None
        self._is_over = True

    @abstractmethod
    async def work(self, stop: Waiter, /) -> None:
        """Do what it is for, until `stop` wakes. Then finish what has begun and return."""

    @property
    def health(self) -> Health:
        """How it is now. Any thread may ask."""
        return self._health

    def stop(self) -> None:
        """Begin nothing new, and let `run` return when what has begun is finished. Any thread may."""
        if self._health.state == "running":
            self._health = Health("draining")
        for waiter in (self._stop, self._leave):
            if waiter is not None:
                waiter.wake()

    async def run(self) -> None:
        """Work until `stop` is called, the work ends by itself, or the caller is cancelled."""
        async with self:
            assert self._leave is not None
            await self._leave.wait()

    async def __aenter__(self) -> Self:
        if self._group is not None:
            raise RuntimeError(f"service {self.name!r} runs already")
        runtime = current()
        self._group = group = runtime.group()
        self._stop, self._leave, self._over = runtime.waiter(), runtime.waiter(), runtime.waiter()
        self._is_over = False
        self._health = Health("running")
        await group.__aenter__()
        group.start(self._worked)
        return self

    async def _worked(self) -> None:
        assert self._stop is not None
        assert self._over is not None
        assert self._leave is not None
        try:
            await self.work(self._stop)
        except Exception as error:
            self._health = Health("failed", error)
            raise
        else:
            self._health = Health("ended")
        finally:
            self._is_over = True
            self._over.wake()
            self._leave.wake()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        group, over = self._group, self._over
        assert group is not None
        assert over is not None
        self.stop()
        try:
            if not self._is_over:
                # Also when the block was cancelled, because work that has begun must be finished. On a machine that
                # stood still both times are over at once; what is left is cancelled below, as after any drain.
                with contextlib.suppress(TimeoutError):
                    await current().shield(lambda: over.wait(self.drain_s), at_most_s=self.drain_s + 1.0)
        except BaseException as late:
            kind, error, trace = type(late), late, late.__traceback__
            raise
        finally:
            group.cancel()
            self._group = None
            try:
                await group.__aexit__(kind, error, trace)
            finally:
                if self._health.state == "draining":
                    self._health = Health("ended")
