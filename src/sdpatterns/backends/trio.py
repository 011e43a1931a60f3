"""A blocking backend for a program that runs trio: each step in a worker thread.

The clients of Redis and of most databases know asyncio and threads, not trio. So under trio a
backend is built with `blocking=True` and its ports are used through these:

```
backend = RedisBackend.from_url(url, blocking=True)
limiter = RateLimiter("api", per_second(100), store=InThreads(backend.states))
```

Costs one hop to a worker thread a step, about a tenth of a millisecond. A cancelled step has
happened or not, as with a lost reply: the thread finishes it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from anyio import to_thread

from sdpatterns.core.runtime import Runtime, finish
from sdpatterns.ports.queue import Claimed, Claims, Message, MessageQueue, Parked, QueueDepth, Settlement
from sdpatterns.ports.signals import SignalBus, Subscription
from sdpatterns.ports.states import Cells, Space, StateStore, rely_on

try:
    from sdpatterns.core.runtime.trio import TRIO
except ImportError as missing:
    raise ImportError('pip install "sdpatterns[trio]"') from missing

__all__ = ["InThreads", "QueueInThreads", "SignalsInThreads"]

S = TypeVar("S")
T = TypeVar("T")

_SLICE_S = 0.5
"""A wait is cut into slices, so that a cancelled one does not hold its thread for long."""


async def _hop(method: Callable[..., Coroutine[Any, Any, T]], *args: Any, abandon: bool = False) -> T:
    return await to_thread.run_sync(lambda: finish(method(*args)), abandon_on_cancel=abandon)


class InThreads:
    """See `StateStore`: a blocking one, used from trio."""

    runtime: Runtime | None = TRIO

    def __init__(self, states: StateStore) -> None:
        self._inside = states
        self.clock = states.clock

    def cells(self, space: Space[S], /) -> Cells[S]:
        """The cells of the store inside."""
        inner = self._inside.cells(space)
        # Not abandoned on a cancellation: the step may have been sent, and its connection must not be left in the
        # middle.
        return Cells(space, lambda step: _hop(inner.run, step))

    def relied_on_by(self, who: str, /) -> None:
        """See `ForgetfulStore`: handed on to the store inside."""
        rely_on(self._inside, who)


class QueueInThreads:
    """See `MessageQueue`: a blocking one, used from trio.

    A cancelled claim may leave leases behind, which end by themselves.
    """

    runtime: Runtime | None = TRIO

    def __init__(self, queue: MessageQueue) -> None:
        self.name = queue.name
        self.topic = queue.topic
        self.capabilities = queue.capabilities
        self._inside = queue

    async def publish(self, messages: Sequence[Message], /) -> Sequence[bool]:
        return await _hop(self._inside.publish, messages)

    async def claim(self, n: int, lease_s: float, /) -> Claims:
        return await _hop(self._inside.claim, n, lease_s)

    async def extend(self, claims: Sequence[Claimed], lease_s: float, /) -> Sequence[bool]:
        return await _hop(self._inside.extend, claims, lease_s)

    async def settle(self, settlements: Sequence[Settlement], /) -> Sequence[bool]:
        return await _hop(self._inside.settle, settlements)

    async def depth(self) -> QueueDepth:
        return await _hop(self._inside.depth)

    async def withdraw(self, ids: Sequence[str], /) -> Sequence[bool]:
        return await _hop(self._inside.withdraw, ids)

    async def parked(self, limit: int, after: int = 0, /) -> Sequence[Parked]:
        return await _hop(self._inside.parked, limit, after)

    async def redrive(self, ids: Sequence[str], /) -> Sequence[bool]:
        return await _hop(self._inside.redrive, ids)

    async def discard(self, ids: Sequence[str], /) -> Sequence[bool]:
        return await _hop(self._inside.discard, ids)


class _ThreadedSubscription:
    """See `Subscription`."""

    def __init__(self, inside: Subscription) -> None:
        self._inside = inside
        # Any thread may call it, and not every subscription has it.
        self.wake: Callable[[], None] | None = getattr(inside, "wake", None)

    async def __aenter__(self) -> Self:
        await _hop(self._inside.__aenter__)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await _hop(self._inside.__aexit__, kind, error, trace)

    async def wait(self, timeout_s: float | None = None, /) -> bool:
        left = float("inf") if timeout_s is None else timeout_s
        while left > _SLICE_S:
            if await _hop(self._inside.wait, _SLICE_S, abandon=True):
                return True
            left -= _SLICE_S
        return await _hop(self._inside.wait, left, abandon=True)


class SignalsInThreads:
    """See `SignalBus`: a blocking one, used from trio."""

    runtime: Runtime | None = TRIO

    def __init__(self, signals: SignalBus) -> None:
        self._inside = signals

    async def notify(self, *topics: str) -> None:
        await _hop(self._inside.notify, *topics)

    def subscribe(self, *topics: str) -> Subscription:
        """A subscription of the bus inside."""
        return _ThreadedSubscription(self._inside.subscribe(*topics))
