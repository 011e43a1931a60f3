"""How a node reaches the store, other machines and its wake-ups: through a network that outlives it."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.runtime import ASYNCIO, Runtime
from sdpatterns.core.step import Repeats
from sdpatterns.ports.log import ANY, LIMIT, Appended, EventLog, Expected, LogHead, LogPage, NewEvent, StreamPage
from sdpatterns.ports.log_subscription import LogSubscription
from sdpatterns.ports.signals import SignalBus, Subscription
from sdpatterns.ports.states import Cells, Space, StateStore
from sdpatterns.testing.faults import FAULTS, FaultPlan, FaultyCells, FaultyClient, Network, Outages
from sdpatterns.testing.simulation.luck import Luck

__all__ = ["NodeClient", "NodeLog", "NodeSignals", "NodeStates"]

S = TypeVar("S")
A = TypeVar("A")

_CALM = FaultPlan(**dict.fromkeys(FAULTS, 0.0))


class _NodeNetwork(Network):
    """The network as one node sees it: outages are those of all, luck is its own and has names."""

    def __init__(
        self, who: str, luck: Luck, plan: FaultPlan, outages: Outages, on_step: Callable[[float], None]
    ) -> None:
        super().__init__(luck.stream(who, "network"), plan, on_step, Counter(), outages)
        self._who = who
        self._luck = luck
        self._size = 0.0

    def strikes(self, fault: str) -> bool:
        chance = getattr(self.plan, fault)
        size = self._luck.draw(self._who, fault, chance) if chance > 0 else None
        self._size = 0.0 if size is None else size
        return size is not None

    def drawn_s(self, at_most_s: float) -> float:
        return self._size * at_most_s


class NodeClient(FaultyClient):
    """What one node sends, behind a bad network.

    **Keeps**: what was sent goes its way also when the node stands still, crashes, or cancels the call.
    """

    def __init__(
        self, who: str, luck: Luck, plan: FaultPlan, outages: Outages, on_step: Callable[[float], None]
    ) -> None:
        super().__init__(chance=luck.stream(who, "network"), plan=plan, on_step=on_step, fired=Counter())
        self.network: Network = _NodeNetwork(who, luck, plan, outages, on_step)
        self._who = who
        self._luck = luck
        self._unheard = 0.0

    def trouble(self, unheard: float) -> None:
        """Let the plan of the network hold again, and wake-ups be lost."""
        self.network.plan = self.plan
        self._unheard = unheard

    def calm(self) -> None:
        """From now on nothing strikes this node on its way."""
        super().calm()
        self._parted_until = float("-inf")
        self._unheard = 0.0

    def hears(self) -> bool:
        """Whether a wake-up that was sent to this node reaches it."""
        return SYSTEM.monotonic() >= self._parted_until and (
            self._luck.draw(self._who, "unheard", self._unheard) is None
        )

    async def send(self, repeats: Repeats, call: Callable[[], Awaitable[A]], *, copies: bool) -> A:
        """Make a call, in a task that belongs to no node."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[A] = loop.create_future()
        way = super().send(repeats, call, copies=copies)
        task = loop.create_task(way, context=contextvars.Context())
        task.add_done_callback(partial(_hand_over, answer), context=contextvars.Context())
        return await answer


def _hand_over(answer: asyncio.Future[Any], task: asyncio.Task[Any]) -> None:
    if task.cancelled():
        answer.cancel()
        return
    error = task.exception()
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(task.result())


class NodeStates:
    """The store's cells as one node reaches them: a `StateStore`."""

    def __init__(self, inner: StateStore, client: FaultyClient) -> None:
        self.runtime: Runtime | None = ASYNCIO
        self.clock = inner.clock
        self._inner = inner
        self._client = client

    def cells(self, space: Space[S], /) -> Cells[S]:
        """The cells of a space."""
        return Cells(space, FaultyCells(self._client, self._inner.cells(space)).run)


class NodeSignals:
    """The wake-ups as one node gets them: some are lost, and none comes through a partition. A `SignalBus`."""

    def __init__(self, inner: SignalBus, client: NodeClient) -> None:
        self.runtime: Runtime | None = ASYNCIO
        self._inner = inner
        self._client = client

    async def notify(self, *topics: str) -> None:
        if self._client.hears():
            await self._inner.notify(*topics)

    def subscribe(self, *topics: str) -> NodeSubscription:
        """A subscription of this node's."""
        return NodeSubscription(self._inner.subscribe(*topics), self._client)


@dataclasses.dataclass
class NodeSubscription:
    """See `Subscription`."""

    inner: Subscription
    client: NodeClient
    is_woken: bool = False

    async def __aenter__(self) -> Self:
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.inner.__aexit__(kind, error, trace)

    async def wait(self, timeout_s: float | None = None, /) -> bool:
        """Wait; a wake-up that was lost on its way is none."""
        until_s = None if timeout_s is None else SYSTEM.monotonic() + timeout_s
        while True:
            left_s = None if until_s is None else max(0.0, until_s - SYSTEM.monotonic())
            if not await self.inner.wait(left_s):
                return False
            if self.is_woken or self.client.hears():
                self.is_woken = False
                return True

    def wake(self) -> None:
        """End a wait from within the node; that is not lost."""
        self.is_woken = True
        wake = getattr(self.inner, "wake", None)
        assert wake is not None
        wake()


class NodeLog:
    """A log as one node reaches it: an `EventLog`. An append that expects a version may arrive twice."""

    def __init__(self, inner: EventLog, client: NodeClient, signals: NodeSignals) -> None:
        self.name = inner.name
        self.topic = inner.topic
        self.runtime: Runtime | None = ASYNCIO
        self._inner = inner
        self._client = client
        self._signals = signals

    async def append(self, stream: str, expected: Expected, events: Sequence[NewEvent], /) -> Appended:
        repeats: Repeats = "unsafe" if expected is ANY else "harmless"
        return await self._client.send(repeats, lambda: self._inner.append(stream, expected, events), copies=True)

    async def read(self, stream: str, /, after: int = 0, limit: int = LIMIT, *, backwards: bool = False) -> StreamPage:
        return await self._send(lambda: self._inner.read(stream, after, limit, backwards=backwards))

    async def read_all(self, after: int = 0, limit: int = LIMIT, /) -> LogPage:
        return await self._send(lambda: self._inner.read_all(after, limit))

    async def head(self) -> LogHead:
        return await self._send(self._inner.head)

    async def trim(self, before: int, /) -> int:
        return await self._send(lambda: self._inner.trim(before))

    async def trim_stream(self, stream: str, before: int, /) -> int:
        return await self._send(lambda: self._inner.trim_stream(stream, before))

    def subscribe(self, after: int = 0, /) -> LogSubscription:
        return LogSubscription(self, self._signals, after)

    async def _send(self, call: Callable[[], Awaitable[A]]) -> A:
        return await self._client.send("harmless", call, copies=False)
