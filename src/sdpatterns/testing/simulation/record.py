"""What really happened in a store, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple, TypeVar

from sdpatterns.core.clock import Clock
from sdpatterns.core.runtime import Runtime
from sdpatterns.ports.engine.steps import Drop, PendingStep
from sdpatterns.ports.queue import Claimed, Claims, Message, MessageQueue, Parked, QueueDepth, Settlement
from sdpatterns.ports.states import Cells, Space, StateStore

__all__ = ["Happened", "QueueCall", "WatchedQueue", "WatchedStates"]

S = TypeVar("S")
A = TypeVar("A")


class Happened(NamedTuple):
    """One executed step: on which cells, which transition, the store's time, its answer, and the states around it.

    A state after it may be `UNCHANGED` or `GONE`, as the transition gave it.
    """

    keys: tuple[str, ...]
    step: Any
    now_us: int
    answer: Any
    before: tuple[Any, ...] = ()
    after: tuple[Any, ...] = ()


class QueueCall(NamedTuple):
    """One call of a queue that took effect: what it was about, what it answered, and the store's time."""

    verb: str
    about: Sequence[Any]
    answer: Any
    now_us: int
    lease_s: float


class _Watched:
    """A transition that reports what it decided."""

    script = None

    def __init__(self, step: Any, keys: Sequence[str], tell: Callable[[Happened], None]) -> None:
        self.repeats = step.repeats
        self._step = step
        self._keys = tuple(keys)
        self._tell = tell

    def __call__(self, states: Any, now_us: int, /) -> Any:
        decided = self._step(states, now_us)
        self._tell(Happened(self._keys, self._step, now_us, decided[1], tuple(states), tuple(decided[0])))
        return decided


class WatchedStates:
    """A store that calls `tell` with each step at the moment at which it takes effect.

    The store inside must run a transition once per step, as memory does.
    """

    def __init__(self, inner: StateStore, tell: Callable[[Happened], None]) -> None:
        self.runtime: Runtime | None = inner.runtime
        self.clock = inner.clock
        self._inner = inner
        self._tell = tell

    def cells(self, space: Space[S], /) -> Cells[S]:
        """The cells of the store inside, watched."""
        inner = self._inner.cells(space)

        def run(step: PendingStep) -> Coroutine[Any, Any, Any]:
            """Make the step inside, and record it unless it only reads or drops."""
            if step.reads or isinstance(step.transition, Drop):
                return inner.run(step)
            watched: Any = _Watched(step.transition, step.keys, self._tell)
            return inner.run(PendingStep(space, step.keys, watched))

        return Cells(space, run)


class WatchedQueue:
    """A queue that calls `tell` with each call that may change it, at the moment at which it takes effect.

    The queue inside must not suspend, as that in memory does not.
    """

    def __init__(self, inner: MessageQueue, clock: Clock, tell: Callable[[QueueCall], None]) -> None:
        self.name = inner.name
        self.topic = inner.topic
        self.runtime: Runtime | None = inner.runtime
        self.capabilities = inner.capabilities
        self._inner = inner
        self._clock = clock
        self._tell = tell

    async def publish(self, messages: Sequence[Message], /) -> Sequence[bool]:
        return self._told("publish", messages, await self._inner.publish(messages))

    async def claim(self, n: int, lease_s: float, /) -> Claims:
        return self._told("claim", (), await self._inner.claim(n, lease_s), lease_s)

    async def extend(self, claims: Sequence[Claimed], lease_s: float, /) -> Sequence[bool]:
        return self._told("extend", claims, await self._inner.extend(claims, lease_s), lease_s)

    async def settle(self, settlements: Sequence[Settlement], /) -> Sequence[bool]:
        return self._told("settle", settlements, await self._inner.settle(settlements))

    async def withdraw(self, ids: Sequence[str], /) -> Sequence[bool]:
        return self._told("withdraw", ids, await self._inner.withdraw(ids))

    async def redrive(self, ids: Sequence[str], /) -> Sequence[bool]:
        return self._told("redrive", ids, await self._inner.redrive(ids))

    async def discard(self, ids: Sequence[str], /) -> Sequence[bool]:
        return self._told("discard", ids, await self._inner.discard(ids))

    async def depth(self) -> QueueDepth:
        return await self._inner.depth()

    async def parked(self, limit: int, after: int = 0, /) -> Sequence[Parked]:
        return await self._inner.parked(limit, after)

    def _told(self, verb: str, about: Sequence[Any], answer: A, lease_s: float = 0.0) -> A:
        self._tell(QueueCall(verb, about, answer, self._clock.now_us(), lease_s))
        return answer
