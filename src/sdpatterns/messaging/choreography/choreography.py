"""Handlers of events that publish what follows, and the services that run them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from sdpatterns.core.judging import is_async, title_of
from sdpatterns.core.keys import check_name, join_key
from sdpatterns.core.undivided import Undivided
from sdpatterns.core.values import plain_of, value_of
from sdpatterns.messaging.choreography.decision import HandlerLink, drawn, faults
from sdpatterns.messaging.cloudevents import CloudEvent
from sdpatterns.messaging.consumer import Redelivery
from sdpatterns.messaging.inbox import Inbox
from sdpatterns.messaging.outbox.outbox import Outbox
from sdpatterns.messaging.schema import EventSchema
from sdpatterns.messaging.schema.config import EventPart
from sdpatterns.messaging.topics.subscriber import Subscriber
from sdpatterns.messaging.topics.topic import Topic, TopicBackend
from sdpatterns.ports.backend import HasQueues, HasStates

__all__ = ["Choreography", "ChoreographyService", "EventTurn"]

T = TypeVar("T")
E = TypeVar("E")

_VERSION = "schemaversion"
"""The extension of a CloudEvent with the version of its type."""
_DEFAULT = Redelivery()


class InTransaction(HasStates, HasQueues, Protocol):
    """What a handler's transaction offers: `backend.within(session)`."""


Begin: TypeAlias = Callable[[], AbstractAsyncContextManager[tuple[T, InTransaction]]]
"""Begins a transaction: gives what handlers work with, such as a session, and the ports within it."""


class EventTurn(NamedTuple, Generic[T]):
    """What a handler gets beside its event.

    `tx` is what the transaction gave (None without one), `cause` the event as it travelled. `idempotency_key` is the
    same each time this handler gets this event: send it with what it asks of others.
    """

    tx: T
    cause: CloudEvent
    idempotency_key: str


class Handler(NamedTuple):
    """A function, and what it has declared."""

    kind: type[Any]
    link: HandlerLink
    function: Callable[[Any, EventTurn[Any]], Awaitable[Any]]
    publishes: tuple[type[Any], ...]
    inbox: Inbox


class Choreography(Undivided, Generic[T]):
    """A process that no one steers: services handle events, and what they publish is handled by others.

    ```
    order.placed --> stock: reserve --+--> stock.reserved --> payments: charge --> order.paid
                                      +--> stock.missing  --> orders: cancel
    ```

    ```python
    shop = Choreography("shop", backend=backend, schema=schema, transaction=begin)

    @shop.on(OrderPlaced, by="stock", publishes=(Reserved, Missing))
    async def reserve(event: OrderPlaced, turn: EventTurn[AsyncSession]) -> Reserved | Missing:
        ...                                      the effect, in turn.tx
        return Reserved(event.order_id)
    ```

    **Keeps**: with `transaction`, the effect of a handler, the note that it had the event, and the events that follow
    are committed together, or none of them: each event has its effect once, and what follows is published if, and only
    if, the effect is there. Without it a handler gets each event at least once, with the same `idempotency_key`, and
    publishes the same events with the same ids. An event that fails again and again is parked in the queue of the
    service that cannot handle it; the others have it.
    **May fail** with `ValueError` when it is built with a transaction, no outbox and a backend that has none; and when
    a service is built: an event that nothing handles, or a cycle; see `check`.
    **Costs** what a `Topic` costs; with a transaction one row for each event and handler, and one message for each
    event that follows.

    Source: Richardson, "Microservices Patterns", chapter 4 (2018).
    """

    _elsewhere = "build it there, at import time, with the same backend"

    def __init__(
        self,
        name: str,
        *,
        backend: TopicBackend,
        schema: EventSchema,
        transaction: Begin[T] | None = None,
        outbox: Outbox | None = None,
        ends: Sequence[type[Any]] = (),
        cycles: Sequence[type[Any]] = (),
    ) -> None:
        self.name = check_name("Choreography", name)
        self.schema = schema
        self.topic = Topic(name, backend=backend)
        if outbox is not None and transaction is None:
            raise ValueError("outbox needs a transaction, in which its events are written")
        if transaction is not None and outbox is None and not callable(getattr(backend, "within", None)):
            # What follows would be written to the transaction's database, where no subscriber looks for it.
            raise ValueError(
                f"{type(backend).__name__} has no within(session): give an outbox, and a Relay to the topic"
            )
        self._transaction = transaction
        self._outbox = outbox
        self._ends = [self._name_of(kind) for kind in ends]
        self._cycles = [self._name_of(kind) for kind in cycles]
        self._handlers: list[Handler] = []

    def on(
        self, kind: type[E], /, *, by: str, publishes: Sequence[type[Any]] = (), name: str | None = None
    ) -> Callable[[Callable[[E, EventTurn[T]], Awaitable[Any]]], Callable[[E, EventTurn[T]], Awaitable[Any]]]:
        """Declare an async function that handles events of a class, as a part of the service `by`.

        It returns the events that follow: one, a list or a tuple of them, or None. Each is of a class in `publishes`.
        """
        handles, follows = self._name_of(kind), tuple(self._name_of(each) for each in publishes)
        of = check_name("Choreography.on", by)

        def declare(
            function: Callable[[E, EventTurn[T]], Awaitable[Any]],
        ) -> Callable[[E, EventTurn[T]], Awaitable[Any]]:
            if not is_async(function):
                raise TypeError(f"a handler is an async function of an event and a turn; got {title_of(function)}")
            named = check_name("handler", str(name or getattr(function, "__name__", "")))
            if any((it.link.by, it.link.name) == (of, named) for it in self._handlers):
                raise ValueError(f"service {of!r} has two handlers {named!r}")
            link = HandlerLink(handles, of, named, follows)
            inbox = Inbox(join_key(self.name, of, named))
            self._handlers.append(Handler(kind, link, function, tuple(publishes), inbox))
            return function

        return declare

    async def publish(
        self,
        event: object,
        *,
        id: str,  # noqa: A002 - what CloudEvents call it
        subject: str | None = None,
        within: HasQueues | None = None,
    ) -> None:
        """Publish an event that no handler publishes: the first one. Again with the same id, it is the same event.

        Events of one `subject` are handled in order; what follows from an event has its subject. With
        `within=backend.within(session)` it is published if the transaction commits.
        """
        await self._written([self._cloud_event(event, id, f"/{self.name}", subject)], within)

    def check(self) -> None:
        """Raise `ValueError` for events that nothing handles, unless they are in `ends`, and for cycles.

        A cycle is allowed where one of its events is in `cycles`.
        """
        found = faults(self.links, self._ends, self._cycles)
        if found:
            raise ValueError(f"choreography {self.name!r}: " + "; ".join(found))

    def diagram(self) -> list[str]:
        """The lines of a Mermaid flowchart of all handlers: what each handles, and what it publishes."""
        return drawn(self.links)

    @property
    def links(self) -> list[HandlerLink]:
        """All handlers, in the order in which they were declared."""
        return [handler.link for handler in self._handlers]

    @property
    def services(self) -> list[str]:
        """The services that have handlers."""
        return sorted({handler.link.by for handler in self._handlers})

    def handlers_of(self, by: str) -> list[Handler]:
        """The handlers of a service. Raises `ValueError` where it has none."""
        found = [handler for handler in self._handlers if handler.link.by == by]
        if not found:
            raise ValueError(f"choreography {self.name!r} has no handlers of {by!r}")
        return found

    async def handle(self, handlers: Sequence[Handler], cause: CloudEvent) -> None:
        """Let each handler have its turn. One that had the event before has none, where there are transactions."""
        kind = self.schema.find(cause.type)
        wanted = [it for it in handlers if kind is not None and it.link.handles == kind.name]
        if not wanted:
            return
        data = json.loads(json.dumps(cause.data), object_hook=value_of)
        events = self.schema.load(EventPart(cause.type, int(cause.extensions.get(_VERSION, "1")), data))
        for handler in wanted:
            await self._turn(handler, cause, [event for event in events if isinstance(event, handler.kind)])

    async def _turn(self, handler: Handler, cause: CloudEvent, events: Sequence[Any]) -> None:
        key = join_key(self.name, handler.link.by, handler.link.name, cause.identity)
        if self._transaction is None:
            await self._written(await self._following(handler, events, EventTurn(None, cause, key)), None)
            return
        async with self._transaction() as (tx, view):
            if await handler.inbox.is_new(cause.identity, within=view):
                await self._written(await self._following(handler, events, EventTurn(tx, cause, key)), view)

    async def _following(self, handler: Handler, events: Sequence[Any], turn: EventTurn[Any]) -> list[CloudEvent]:
        found = [each for event in events for each in _several(await handler.function(event, turn))]
        for each in found:
            if type(each) not in handler.publishes:
                declared = ", ".join(handler.link.publishes) or "nothing"
                raise TypeError(f"{handler.link.name} publishes {declared}, and returned {type(each).__qualname__}")
        source = f"/{join_key(self.name, handler.link.by)}"
        # The same ids each time, so that what was published twice is recognised.
        ids = [hashlib.sha256(f"{turn.idempotency_key}/{place}".encode()).hexdigest() for place in range(len(found))]
        return [self._cloud_event(it, id_, source, turn.cause.subject) for it, id_ in zip(found, ids, strict=True)]

    async def _written(self, events: Sequence[CloudEvent], view: HasQueues | None) -> None:
        if events and self._outbox is not None and view is not None:
            await self._outbox.publish(*events, within=view)
        elif events:
            await self.topic.publish(*events, within=view)

    def _cloud_event(self, event: object, event_id: str, source: str, subject: str | None) -> CloudEvent:
        part = self.schema.dump(event)
        about = {_VERSION: str(part.version)}
        data = plain_of(part.data)
        return CloudEvent(id=event_id, source=source, type=part.type, subject=subject, data=data, extensions=about)

    def _name_of(self, kind: type[Any]) -> str:
        for each in self.schema.types:
            if each.kind is kind:
                return each.name
        raise TypeError(f"{kind.__qualname__} is no event of this schema: register it as an EventType")

    def __repr__(self) -> str:
        return (
            f"<Choreography {self.name!r}: {', '.join(sorted({link.by for link in self.links})) or 'no handlers yet'}>"
        )


def _several(found: Any) -> Sequence[Any]:
    if found is None:
        return ()
    return found if isinstance(found, list | tuple) else (found,)


class ChoreographyService(Subscriber):
    """Runs the handlers of one service: `async with ChoreographyService(shop, "stock"):`. Run as many as you like.

    What it keeps and costs is said in `Choreography` and in `Subscriber`.
    """

    def __init__(
        self,
        choreography: Choreography[Any],
        by: str,
        *,
        redelivery: Redelivery = _DEFAULT,
        concurrency: int = 10,
        lease_s: float = 8.0,
        poll_s: float = 5.0,
        drain_s: float = 30.0,
    ) -> None:
        choreography.check()
        handlers = choreography.handlers_of(by)

        async def handle(event: CloudEvent) -> None:
            await choreography.handle(handlers, event)

        super().__init__(
            choreography.topic, by, handle,
            joins_too=[it for it in choreography.services if it != by],
            redelivery=redelivery, concurrency=concurrency, lease_s=lease_s, poll_s=poll_s, drain_s=drain_s,
            service=by,
        )  # fmt: skip
