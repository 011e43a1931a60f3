"""A connection that listens to subjects of the server, for an event loop."""

from __future__ import annotations

from collections.abc import Sequence

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from sdpatterns.backends.nats.connection import NatsLink
from sdpatterns.backends.nats.server import NatsServer
from sdpatterns.errors import BackendUnavailable
from sdpatterns.ports.engine.looped import NotedSource, away
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


class _NatsSource(NotedSource):
    """See `Source`."""

    def __init__(self, link: NatsLink, listener: Hears, timeout_s: float) -> None:
        super().__init__(link.news)  # shared with the link, which sets it at its end
        self._link = link
        self._listener = listener
        self._timeout_s = timeout_s
        self._subscriptions: dict[str, Subscription] = {}

    async def _heard(self, message: Msg) -> None:
        self._listener.heard(message.data.decode("utf-8", "surrogatepass"))
        self._news.set()

    async def change(self, add: Sequence[str], drop: Sequence[str], /) -> None:
        """What was sent before the proof has been taken by the server once that is there, so it confirms all."""
        for channel in drop:
            if channel in self._subscriptions:
                await self._subscriptions.pop(channel).unsubscribe()
        for channel in add:
            self._subscriptions[channel] = await self._link.client.subscribe(channel, cb=self._heard)
        if add:
            await self.prove()
        for channel in add:
            self._listener.confirmed(channel)

    def broken(self) -> Exception | None:
        """See `NatsLink`."""
        return ConnectionResetError("the connection broke") if self._link.has_ended else None

    async def prove(self) -> None:
        """See `NatsLink`."""
        await self._link.prove(self._timeout_s)

    async def close(self) -> None:
        """Close it."""
        await self._link.close()
