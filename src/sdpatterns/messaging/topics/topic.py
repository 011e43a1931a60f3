"""A topic: where events are published for all groups that subscribe to it."""

from __future__ import annotations

from typing import Protocol

from sdpatterns.core.keys import check_name, join_key
from sdpatterns.core.undivided import Undivided
from sdpatterns.messaging.cloudevents import CloudEvent
from sdpatterns.messaging.consumer import message_of
from sdpatterns.messaging.topics.decision import GROUPS, GROUPS_MAX, ChangeGroups
from sdpatterns.ports.backend import HasQueues, HasSignals, HasStates
from sdpatterns.ports.queue import MessageQueue, QueueSettings, require
from sdpatterns.ports.states import Space

__all__ = ["Topic", "TopicBackend"]


class TopicBackend(HasQueues, HasSignals, HasStates, Protocol):
    """What a topic needs: queues, signals that wake its subscribers, and a cell with the names of its groups."""


class Topic(Undivided):
    """Takes events for any number of groups of subscribers: `await topic.publish(event)`.

    ```
    publish --> the topic's queue --> a subscriber spreads --+--> queue of group "mail"  --> one of its subscribers
                                                             +--> queue of group "stock" --> one of its subscribers
    ```

    **Keeps**: an event that was published reaches each group that has joined, also after a crash: it is one message
    until it stands in the queue of each group. In each group one subscriber gets it, at least once: after a crash a
    group may get an event again, with the same `identity`, so take it with an `Inbox`. Events of one `subject` reach
    each group in the order in which they were published, one at a time. Where there is no group yet, events wait for
    the first one.
    **May fail** with `BackendError`, where you publish the same event again.
    **Costs** one `publish`; then for each event one claim, one read and one `publish` for each group.

    Source: Hohpe and Woolf, "Publish-Subscribe Channel", "Durable Subscriber", "Competing Consumers" (2003).
    """

    _elsewhere = "build it there, at import time, with the same backend"

    def __init__(self, name: str, *, backend: TopicBackend, settings: QueueSettings | None = None) -> None:
        self.name = check_name("Topic", name)
        self._settings = settings or QueueSettings()
        self._backend = backend
        if not callable(getattr(backend, "queue", None)):
            raise TypeError(f"a topic needs a backend with queues, and {type(backend).__name__} has none")
        self.queue = backend.queue(f"topic/{join_key(name)}", self._settings)
        require(self.queue, f"Topic {name!r}", "fence", "keyed order")
        self.signals = backend.signals
        self._groups = backend.states.cells(Space("topics", GROUPS))

    async def publish(self, *events: CloudEvent, within: HasQueues | None = None) -> None:
        """Publish events, all or none; in the caller's transaction with `within=backend.within(session)`."""
        queue = self.queue if within is None else within.queue(self.queue.name, self._settings)
        await queue.publish([message_of(event) for event in events])

    async def join(self, group: str) -> None:
        """From now on the group gets what is published, whether or not it has a subscriber.

        A subscriber does so itself when it begins. Do it in your deployment where the first subscriber of a new group
        must not miss what is published before it has begun. Raises `ValueError` for more than 100 groups.
        """
        check_name("Topic.join", group)
        if group not in await self._groups.transact(self.name, ChangeGroups(group, is_there=True)):
            raise ValueError(f"topic {self.name!r} has {GROUPS_MAX} groups already; let one leave")

    async def leave(self, group: str) -> None:
        """From now on the group gets nothing new. What waits for it stays until a subscriber takes it."""
        await self._groups.transact(self.name, ChangeGroups(group, is_there=False))

    async def groups(self) -> tuple[str, ...]:
        """The groups that have joined."""
        return await self._groups.read(self.name) or ()

    def queue_of(self, group: str) -> MessageQueue:
        """The queue of one group: its depth, its dead letters."""
        name = check_name("Topic.queue_of", group)
        return self._backend.queue(f"topic/{join_key(self.name, name)}", self._settings)

    def __repr__(self) -> str:
        return f"<Topic {self.name!r}>"
