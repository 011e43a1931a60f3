"""Signals by the server's publish and subscribe."""

from __future__ import annotations

from redis.exceptions import ResponseError

from sdpatterns.backends.redis.failures import Lost
from sdpatterns.backends.redis.listener import publish
from sdpatterns.backends.redis.resources import RedisResources
from sdpatterns.core.runtime import Runtime
from sdpatterns.ports.engine.failures import repeat
from sdpatterns.ports.engine.remote import RemoteSubscription
from sdpatterns.ports.signals import Subscription

__all__ = ["RedisSignals"]


class RedisSignals:
    """Sends signals between all processes that use the same server: see `SignalBus`.

    Costs: one connection for all subscriptions of an event loop, or of all threads of a program without
    one; a command for each channel that is new there, those of one turn of the loop together.
    """

    def __init__(self, resources: RedisResources) -> None:
        self.runtime: Runtime | None = resources.server.runtime
        self._resources = resources

    async def notify(self, *topics: str) -> None:
        commands = [(publish(self._resources.server.channel, topic), b"") for topic in dict.fromkeys(topics)]
        sender = self._resources.here().sender
        try:
            try:
                await sender.call_all(commands)
            except Lost as lost:
                # A signal that comes twice is harmless, and one that does not come is a signal that was lost.
                await repeat(lost, lambda: sender.call_all(commands), leaves_doubt=False)
        except (Lost, ResponseError) as error:
            raise self._resources.server.failure(error) from error

    def subscribe(self, *topics: str) -> Subscription:
        """A subscription to these topics. Entering it fails with `BackendUnavailable` when the server is away."""
        return RemoteSubscription(lambda: self._resources.here().listener, topics)
