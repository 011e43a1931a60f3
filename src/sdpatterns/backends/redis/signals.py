"""Signals by the server's publish and subscribe."""

from __future__ import annotations

from redis.exceptions import ResponseError

from sdpatterns.backends.redis.failures import Lost, ReplyLost
from sdpatterns.backends.redis.listener import publish
from sdpatterns.backends.redis.sites import Sites
from sdpatterns.core.runtime import Runtime
from sdpatterns.errors import BackendUnavailable
from sdpatterns.ports.engine.remote import RemoteSubscription
from sdpatterns.ports.signals import Subscription

__all__ = ["RedisSignals"]


class RedisSignals:
    """Sends signals between all processes that use the same server: see `SignalBus`.

    Costs: one connection for all subscriptions of an event loop, or of all threads of a program without
    one; a command for each channel that is new there, those of one turn of the loop together.
    """

    def __init__(self, sites: Sites) -> None:
        self.runtime: Runtime | None = sites.target.runtime
        self._sites = sites

    async def notify(self, *topics: str) -> None:
        """Wake all that subscribe to one of the topics."""
        commands = [(publish(self._sites.target.channel, topic), b"") for topic in dict.fromkeys(topics)]
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

    def subscribe(self, *topics: str) -> Subscription:
        """A subscription to these topics. Entering it fails with `BackendUnavailable` when the server is away."""
        return RemoteSubscription(lambda: self._sites.here().listener, topics)
