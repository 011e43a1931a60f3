"""Where a relay takes events: to one of our own queues. Targets on other servers stand with their backends."""

from __future__ import annotations

from sdpatterns.core.envelope import EnvelopeMode, Event, check_mode
from sdpatterns.core.runtime import Runtime
from sdpatterns.messaging.consumer import message_of
from sdpatterns.ports.queue import MessageQueue, require

__all__ = ["QueueTarget"]


class QueueTarget:
    """Takes events to a `MessageQueue`, on this backend or another: `Relay(outbox, QueueTarget(redis.queue("mails")))`.

    **Keeps**: events of one subject are handed out in order, one at a time, because the subject is the message's key.
    An event that comes again while the first one is in the queue is dropped. After that it is a new message, so take
    it with an `Inbox`. `CloudEvent.received(claimed.headers, claimed.payload)` reads it.
    **May fail** with what `publish` raises: the relay tries again. TypeError for a queue without "keyed order".
    **Costs** one `publish`.
    """

    def __init__(self, queue: MessageQueue, *, mode: EnvelopeMode = "structured") -> None:
        require(queue, "QueueTarget", "keyed order")
        self.queue = queue
        self._mode: EnvelopeMode = check_mode(mode)

    @property
    def runtime(self) -> Runtime | None:
        """The runtime that the queue needs."""
        return self.queue.runtime

    async def __call__(self, event: Event) -> None:
        """Publish it."""
        await self.queue.publish([message_of(event, self._mode)])
