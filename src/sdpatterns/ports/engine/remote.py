"""Signals of a server: a subscription shares one connection with all others, which hears the topics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

from sdpatterns.core.runtime import Runtime
from sdpatterns.ports.engine.failures import Lost, repeat
from sdpatterns.ports.fanout import LocalSignals, LocalSubscription
from sdpatterns.ports.signals import Subscription

__all__ = ["Listens", "RemoteSignals", "RemoteSubscription"]


class Listens(Protocol):
    """Gets the notifications of other processes to `local`, as long as they are wanted."""

    local: LocalSignals

    async def add(self, topics: Sequence[str], /) -> bool:
        """Hear these topics too. When it returns they are heard; True where that had to be waited for."""
        ...

    def drop(self, topics: Sequence[str], /) -> None:
        """End what `add` began."""


class RemoteSubscription:
    """See `Subscription`: the waiter is here, the topics are heard by a listener."""

    __slots__ = ("_find", "_listener", "_mine", "_topics")

    def __init__(self, find: Callable[[], Listens], topics: Sequence[str]) -> None:
        self._find = find
        self._topics = topics
        self._listener: Listens | None = None
        self._mine: LocalSubscription | None = None

    async def __aenter__(self) -> Self:
        listener = self._find()
        # The local one first: from the moment the connection listens, nothing is missed.
        mine = listener.local.subscribe(*self._topics)
        await mine.__aenter__()
        try:
            if await listener.add(self._topics):
                self._listener = listener
                await mine.wait(0.0)  # what woke it so far was for what came before
        except BaseException:
            await self.__aexit__(None, None, None)
            await mine.__aexit__(None, None, None)
            raise
        self._listener, self._mine = listener, mine
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        mine, self._mine = self._mine, None
        listener, self._listener = self._listener, None
        if mine is not None:
            await mine.__aexit__(kind, error, trace)
        if listener is not None:
            listener.drop(self._topics)

    async def wait(self, timeout_s: float | None = None, /) -> bool:
        """Park until one of the topics was notified since the last wait (True), or time is up (False)."""
        if self._mine is None:
            raise RuntimeError("enter the subscription with 'async with' before waiting on it")
        return await self._mine.wait(timeout_s)

    def wake(self) -> None:
        """End the wait as a notification would; any thread of this process may."""
        mine = self._mine
        if mine is not None:
            mine.wake()


class RemoteSignals:
    """Sends signals between all processes that use the same server: see `SignalBus`.

    `find` gives the listener, `send` sends topics and raises `Lost`, and `failure` gives the exception for that.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        find: Callable[[], Listens],
        send: Callable[[Sequence[str]], Awaitable[None]],
        failure: Callable[[Exception], Exception],
    ) -> None:
        self.runtime: Runtime | None = runtime
        self._find = find
        self._send = send
        self._failure = failure

    async def notify(self, *topics: str) -> None:
        once = list(dict.fromkeys(topics))
        if not once:
            return
        try:
            try:
                await self._send(once)
            except Lost as lost:
                # A signal that comes twice is harmless, and one that does not come is a signal that was lost.
                await repeat(lost, lambda: self._send(once), leaves_doubt=False)
        except Lost as lost:
            raise self._failure(lost) from lost

    def subscribe(self, *topics: str) -> Subscription:
        """A subscription to these topics. Entering it fails with `BackendUnavailable` when the server is away."""
        return RemoteSubscription(self._find, topics)
