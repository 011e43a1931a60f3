"""Signals by the server's publish and subscribe."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from redis.exceptions import RedisError, ResponseError

from sdpatterns.backends.redis.failures import Lost, NotSent, ReplyLost
from sdpatterns.backends.redis.pool import dialled
from sdpatterns.backends.redis.protocol import pack
from sdpatterns.backends.redis.sites import Site, Sites
from sdpatterns.backends.redis.target import Target
from sdpatterns.core import clock
from sdpatterns.core.runtime import Runtime, Waiter, current
from sdpatterns.errors import BackendUnavailable
from sdpatterns.ports.signals import Ear

__all__ = ["RedisSignals"]

QUIET_S = 15.0


class RedisSignals:
    """Sends signals between all processes that use the same server: see `SignalBus`.

    Costs: one connection for all ears of an event loop; without loops, one for each ear.
    """

    def __init__(self, sites: Sites) -> None:
        self.runtime: Runtime | None = sites.target.runtime
        self._sites = sites

    async def announce(self, *topics: str) -> None:
        """Wake all that listen to one of the topics."""
        channel = self._sites.target.channel
        commands = [(pack("PUBLISH", channel + topic, ""), b"") for topic in dict.fromkeys(topics)]
        for last in (False, True):
            try:
                await self._sites.here().wire.call_all(commands)
            except ResponseError as refused:
                raise self._sites.target.failure(refused) from refused
            except Lost as lost:
                if last or lost.is_late or not isinstance(lost, ReplyLost):
                    raise BackendUnavailable(self._sites.target.away(lost)) from lost
            else:
                return

    def listen(self, *topics: str) -> Ear:
        """An ear for these topics. Entering it fails with `BackendUnavailable` when the server is away."""
        return BlockingEar(self._sites.target, topics) if self._sites.target.blocking else LoopEar(self._sites, topics)


class LoopEar:
    """See `Ear`: a bell at the loop's listener."""

    def __init__(self, sites: Sites, topics: tuple[str, ...]) -> None:
        self._sites = sites
        self._topics = topics
        self._site: Site | None = None
        self._bell: Waiter | None = None

    async def __aenter__(self) -> Self:
        self._site = self._sites.here()
        assert self._site.listener is not None
        await self._site.listener.add(self._topics)
        self._bell = current().waiter()
        self._site.listener.ears.add(self._topics, self._bell)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bell is not None and self._site is not None and self._site.listener is not None:
            self._site.listener.ears.remove(self._topics, self._bell)
            self._bell = None
            await self._site.listener.drop(self._topics)

    async def wait(self, timeout_s: float | None = None, /) -> bool:
        """Park until a topic was announced since the last wait (True), or time is up (False)."""
        if self._bell is None:
            raise RuntimeError("enter the ear with 'async with' before waiting on it")
        return await self._bell.wait(timeout_s)


class BlockingEar:
    """See `Ear`: a connection of its own, read by the thread that waits."""

    def __init__(self, target: Target, topics: tuple[str, ...]) -> None:
        self._target = target
        self._topics = topics
        self._entered = False
        self._connection: Any = None

    async def __aenter__(self) -> Self:
        try:
            self._subscribe()
        except Lost as lost:
            raise BackendUnavailable(self._target.away(lost)) from lost
        self._entered = True
        return self

    def _subscribe(self) -> None:
        connection = dialled(self._target, None)
        channels = [self._target.channel + topic for topic in dict.fromkeys(self._topics)]
        try:
            connection.send_packed_command((pack("SUBSCRIBE", *channels),), check_health=False)
            for _ in channels:
                connection.read_response()
        except (RedisError, OSError) as cause:
            connection.disconnect()
            raise NotSent(cause) from None
        self._connection = connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._entered = False
        self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    async def wait(self, timeout_s: float | None = None, /) -> bool:
        """Park until a topic was announced since the last wait (True), or time is up (False)."""
        if not self._entered:
            raise RuntimeError("enter the ear with 'async with' before waiting on it")
        until = None if timeout_s is None else clock.SYSTEM.monotonic() + timeout_s
        while True:
            left_s = QUIET_S if until is None else max(0.0, until - clock.SYSTEM.monotonic())
            if self._heard(min(left_s, QUIET_S)):
                return True
            if until is not None and clock.SYSTEM.monotonic() >= until:
                return False
            if self._connection is None:
                await self._target.runtime.sleep(min(left_s, 0.05 + self._target.random() / 10))

    def _heard(self, within_s: float) -> bool:
        """Whether there was something to hear, or may have been while the connection was away."""
        try:
            if self._connection is None:
                self._subscribe()
                return True
            rung = False
            while self._connection.can_read(0 if rung else within_s):
                rung = self._connection.read_response()[0] == b"message" or rung
            if not rung and within_s == QUIET_S:
                self._ask_for_life()
        except (Lost, RedisError, OSError):
            self._close()
            return False
        return rung

    def _ask_for_life(self) -> None:
        self._connection.send_packed_command((pack("PING"),), check_health=False)
        if not self._connection.can_read(self._target.timeout_s):
            raise NotSent("no sign of life")
