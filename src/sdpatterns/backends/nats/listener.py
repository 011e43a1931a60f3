"""A connection that listens to subjects of the server, for an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from sdpatterns.backends.nats.connection import NatsLink
from sdpatterns.backends.nats.server import NatsServer
from sdpatterns.errors import BackendUnavailable
from sdpatterns.ports.engine.looped import away
from sdpatterns.ports.engine.source import Hears, Source

__all__ = ["NatsConnector"]


class NatsConnector:
    """See `Connector`."""

    def __init__(self, server: NatsServer) -> None:
        self._server = server
        self.timeout_s = server.timeout_s

    def channel_of(self, topic: str, /) -> str:
        """The topic's subject."""
        return self._server.channel(topic)

    async def open(self, listener: Hears, /) -> Source:
        """A connection of its own, so that a slow reply to a step does not hold up a signal."""
        return _NatsSource(await NatsLink.opened(self._server), listener, self.timeout_s)

    def failure(self, error: Exception, /) -> Exception:
        """The server is away."""
        return BackendUnavailable(f"{self._server.shown}: {away(error)}")

    def is_refusal(self, error: Exception, /) -> bool:
        """Never known: what may not be subscribed to is not confirmed."""
        return False


class _NatsSource:
    """See `Source`."""

    def __init__(self, link: NatsLink, listener: Hears, timeout_s: float) -> None:
        self._link = link
        self._listener = listener
        self._timeout_s = timeout_s
        self._subscriptions: dict[str, Subscription] = {}
        self._wanted: list[tuple[Sequence[str], Sequence[str]]] = []
        # Shared with the link: it is set for news and at the end.
        self._news = self._link.news

    async def _heard(self, message: Msg) -> None:
        self._listener.heard(message.data.decode("utf-8", "surrogatepass"))
        self._news.set()

    def ask(self, add: Sequence[str], drop: Sequence[str], /) -> Sequence[str]:
        """Noted, and done by the owner of the connection, which awaits the server's confirmation."""
        self._wanted.append((add, drop))
        self._news.set()
        return ()

    async def _subscribe(self, add: Sequence[str], drop: Sequence[str]) -> None:
        for channel in drop:
            if channel in self._subscriptions:
                await self._subscriptions.pop(channel).unsubscribe()
        for channel in add:
            self._subscriptions[channel] = await self._link.client.subscribe(channel, cb=self._heard)
        if add:
            await self.prove()
        for channel in add:
            self._listener.confirmed(channel)

    async def receive(self, within_s: float, /) -> bool:
        """Do what was asked for, and wait for news; they are told as they come."""
        try:
            async with asyncio.timeout(within_s):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        if self._link.has_ended:
            raise ConnectionResetError("the connection broke")
        while self._wanted:
            await self._subscribe(*self._wanted.pop(0))
        return True

    async def prove(self) -> None:
        """See `NatsLink`."""
        await self._link.prove(self._timeout_s)

    def interrupt(self) -> None:
        """Nothing: what changes is asked for from the loop itself."""

    async def close(self) -> None:
        """Close it."""
        await self._link.close()
