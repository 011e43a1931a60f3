"""Work on the events of a topic, for one group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from sdpatterns.core.runtime import Waiter
from sdpatterns.core.tracing import SpanKind
from sdpatterns.messaging.cloudevents import CloudEvent
from sdpatterns.messaging.consumer import EventConsumer, EventHandler, Redelivery, message_of
from sdpatterns.messaging.consumer.config import ATTEMPTS_LIMIT
from sdpatterns.messaging.consumer.notices import EventPublished
from sdpatterns.messaging.topics.topic import Topic

__all__ = ["Subscriber"]

_DEFAULT = Redelivery()
_SPREAD = Redelivery(attempts_max=ATTEMPTS_LIMIT, base_s=0.1, max_s=1.0)


class Subscriber(EventConsumer):
    """Hands the events of a topic to a function, for one group: `async with Subscriber(topic, "mail", send):`.

    Subscribers of one group share its events, in one process or in many; each group gets all of them.

    **Keeps**: an event stays in the group's queue until the function has returned. While it fails, later events of its
    subject wait, until it is parked: see `topic.queue_of(group).parked(…)`. The topic's events go to the groups for as
    long as one subscriber of any group runs.
    `joins_too` names groups that join with this one, and whose subscribers may begin later: they miss nothing.
    `service` names the service in the spans of its events.
    **May fail** with ValueError where the topic has too many groups: the service ends then.
    **Costs** what two `Consumer`s do: one spreads the topic's events over its groups. A plain function blocks the loop:
    keep it short, or make it async.
    """

    def __init__(
        self,
        topic: Topic,
        group: str,
        handler: EventHandler,
        *,
        joins_too: Sequence[str] = (),
        redelivery: Redelivery = _DEFAULT,
        concurrency: int = 50,
        lease_s: float = 8.0,
        poll_s: float = 5.0,
        drain_s: float = 30.0,
        service: str | None = None,
    ) -> None:
        super().__init__(
            f"{topic.name}/{group}", topic.queue_of(group), topic.signals, handler, redelivery,
            concurrency=concurrency, lease_s=lease_s, poll_s=poll_s, drain_s=drain_s, service=service,
        )  # fmt: skip
        self._spreader = Spreader(topic, (group, *joins_too), concurrency=concurrency, lease_s=lease_s, poll_s=poll_s)

    async def work(self, stop: Waiter, /) -> None:
        """See `Consumer`; and spread the topic's events beside it."""
        async with self._spreader:
            await super().work(stop)


class Spreader(EventConsumer):
    """Takes each event of a topic to the queues of all groups. Every subscriber has one; they share the work."""

    done = EventPublished
    span: ClassVar[tuple[str, SpanKind]] = ("publish", "producer")

    def __init__(self, topic: Topic, groups: Sequence[str], *, concurrency: int, lease_s: float, poll_s: float) -> None:
        super().__init__(
            topic.name, topic.queue, topic.signals, self._spread, _SPREAD,
            concurrency=concurrency, lease_s=lease_s, poll_s=poll_s, drain_s=5.0,
        )  # fmt: skip
        self._topic = topic
        self._joining = groups

    async def begin(self) -> None:
        """Join first: an event that finds no group would be gone."""
        for group in self._joining:
            await self._topic.join(group)

    async def _spread(self, event: CloudEvent) -> None:
        # The same id again where this is repeated: a group that still has the event keeps one of it.
        for group in await self._topic.groups():
            await self._topic.queue_of(group).publish([message_of(event)])
