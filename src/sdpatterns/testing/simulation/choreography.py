"""Nodes that place orders, and services on each of them that handle the events of these and publish what follows.

```
placed --> stock: reserve --> reserved --> mail: ship
       --> mail: confirm
```

Promises: each handler has each event that was committed, once behind its inbox (or its idempotency key), and those of
one customer in the order of their commits; nothing follows from what was rolled back; an event that one service cannot
handle is parked there, and reaches the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from sdpatterns.errors import BackendError
from sdpatterns.messaging.choreography import Choreography, ChoreographyService, EventTurn
from sdpatterns.messaging.consumer import Redelivery
from sdpatterns.messaging.outbox import Outbox, Relay
from sdpatterns.messaging.schema import EventSchema, EventType
from sdpatterns.testing.simulation.cluster import TROUBLES, Cluster, Node
from sdpatterns.testing.simulation.database import NodeTransaction
from sdpatterns.testing.simulation.world import Run

__all__ = ["ChoreographyWorld"]

_CUSTOMERS = ("c1", "c2")
_HANDLERS = ("reserve", "confirm", "ship")
_LEASES = 6
_MODES = ("in_transactions", "in_transactions", "through_an_outbox", "without_transactions")
_NAME = "shop"
_PEACE_S = 900.0


class ChoreographyWorld:
    """See the module."""

    name = "choreography"
    sometimes = (
        *TROUBLES, *_MODES[1:],
        "placed", "rolled_back", "conflict", "begun", "begun_again", "busy", "hopeless", "restarted", "repeated",
    )  # fmt: skip

    async def play(self, run: Run) -> None:
        """Some nodes, trouble, then peace, then the judgement."""
        await _Shop(run).live()


class _RolledBack(Exception):
    """The customer thought better of it."""


class _Hopeless(Exception):
    """No further attempt will help."""


@dataclasses.dataclass(frozen=True)
class _Placed:
    """The order with that number of a customer; one without an address cannot be shipped."""

    customer: str
    number: int
    has_address: bool


@dataclasses.dataclass(frozen=True)
class _Reserved:
    """What follows."""

    customer: str
    number: int
    has_address: bool


_SCHEMA = EventSchema(EventType("placed", _Placed), EventType("reserved", _Reserved))
_REDELIVERY = Redelivery(attempts_max=1_000, base_s=0.1, max_s=1.0, give_up_on=(_Hopeless,))


class _Shop:
    def __init__(self, run: Run) -> None:
        self.run = run
        chance = run.chance
        self.lease_s = chance.choice([1.0, 3.0, 8.0])
        trouble = run.trouble(pause_max_s=3 * self.lease_s)
        self.cluster = Cluster(run, nodes=2, trouble=trouble)
        self.mode = chance.choice(_MODES)
        self.placing: set[str] = set()
        self.begun: set[tuple[str, str]] = set()
        self.keys: set[str] = set()
        run.note(self.mode)

    async def live(self) -> None:
        """Everything."""
        self.cluster.start(self.program)
        deploy = asyncio.create_task(self.deploy())
        await self.cluster.suffer(_LEASES * self.lease_s)
        deploy.cancel()
        await self.cluster.all_arrived()
        await self.drained()
        await self.cluster.stop()
        await self.judge()

    async def deploy(self) -> None:
        """End the program of each node as a rolling deploy does, some time, and start it again."""
        for node in self.cluster.nodes:
            await asyncio.sleep(self.run.chance.random() * _LEASES / 2 * self.lease_s)
            await node.stop()
            if node.state == "down":
                self.run.note("restarted", node.name)
                node.start(self.program)

    async def drained(self) -> None:
        """Every order is placed, and its events have reached every service."""
        topic = self.choreography(self.cluster.nodes[0]).topic
        names = ["outbox/orders", topic.queue.name, *(topic.queue_of(by).name for by in ("stock", "mail"))]
        queues = [self.cluster.queue(name) for name in names]
        depths: list[tuple[int, ...]] = []
        for _ in range(int(_PEACE_S / self.lease_s)):
            # First, because a node that has just come up again has not begun to place yet.
            await asyncio.sleep(self.lease_s)
            # In this order: what is in none of them has reached the last.
            depths = [(await queue.depth())[:3] for queue in queues]
            if not self.placing and not any(map(any, depths)):
                return
        self.run.violated(f"there are events left after {_PEACE_S:g} s of peace: {depths}")

    def choreography(self, node: Node, outbox: Outbox | None = None) -> Choreography[NodeTransaction]:
        """The handlers of all services, as a node has them."""

        @contextlib.asynccontextmanager
        async def begin() -> AsyncIterator[tuple[NodeTransaction, NodeTransaction]]:
            """A handler's transaction."""
            async with node.transaction() as within:
                yield within, within

        shop: Choreography[NodeTransaction] = Choreography(
            _NAME, backend=node, schema=_SCHEMA, outbox=outbox,
            transaction=None if self.mode == "without_transactions" else begin,
        )  # fmt: skip

        @shop.on(_Placed, by="stock", publishes=(_Reserved,))
        async def reserve(event: _Placed, turn: EventTurn[NodeTransaction]) -> _Reserved:
            """The first hop."""
            await self.handle(node, "reserve", event, turn)
            return _Reserved(event.customer, event.number, event.has_address)

        @shop.on(_Placed, by="mail")
        async def confirm(event: _Placed, turn: EventTurn[NodeTransaction]) -> None:
            """The same event, by another service."""
            await self.handle(node, "confirm", event, turn)

        @shop.on(_Reserved, by="mail")
        async def ship(event: _Reserved, turn: EventTurn[NodeTransaction]) -> None:
            """The second hop."""
            await self.handle(node, "ship", event, turn)

        return shop

    async def program(self, node: Node) -> None:
        """Both services and some customers, for as long as the node lives."""
        outbox = Outbox("orders", backend=node) if self.mode == "through_an_outbox" else None
        shop = self.choreography(node, outbox)
        settings: dict[str, Any] = {
            "redelivery": _REDELIVERY, "concurrency": 4, "lease_s": self.lease_s, "poll_s": 6 * self.lease_s,
            "drain_s": self.lease_s,
        }  # fmt: skip
        async with contextlib.AsyncExitStack() as stack:
            for by in shop.services:
                await stack.enter_async_context(ChoreographyService(shop, by, **settings))
            if outbox is not None:
                await stack.enter_async_context(Relay(outbox, shop.topic.publish, **settings))
            # A crash runs no `finally`: then it places again when it has come up.
            self.placing.add(node.name)
            try:
                for _ in range(node.chance.randint(1, 4)):
                    await asyncio.sleep(node.chance.random() * self.lease_s)
                    await self.place(node, shop)
            finally:
                self.placing.discard(node.name)
            await asyncio.Event().wait()

    async def place(self, node: Node, shop: Choreography[NodeTransaction]) -> None:
        """An order and its event, or neither."""
        customer, has_address = node.chance.choice(_CUSTOMERS), node.chance.random() < 0.9
        try:
            async with node.transaction() as within:
                placed: tuple[bool, ...] = await within.get(("placed", customer)) or ()
                within.put(("placed", customer), (*placed, has_address))
                event = _Placed(customer, len(placed) + 1, has_address)
                await shop.publish(event, id=node.ids(), subject=customer, within=within)
                await asyncio.sleep(node.chance.choice([0.0, 0.3]) * node.chance.random())
                self.may_commit(node)
            self.run.note("placed", customer, len(placed) + 1)
        except _RolledBack:
            self.run.note("rolled_back", customer)
        except BackendError as error:
            self.run.note("conflict", customer, type(error).__name__)

    def may_commit(self, node: Node) -> None:
        """Raise now and then, so that the transaction is rolled back."""
        if node.chance.random() < 0.2:
            raise _RolledBack

    async def handle(
        self, node: Node, handler: str, event: _Placed | _Reserved, turn: EventTurn[NodeTransaction]
    ) -> None:
        """The effect of one handler, which takes its time and fails now and then."""
        chance, name, number = node.chance, ("seen", handler, event.customer), event.number
        mark = (turn.idempotency_key, handler)
        self.run.note("begun_again" if mark in self.begun else "begun", handler, event.customer, number)
        self.begun.add(mark)
        await asyncio.sleep(chance.choice([0.0, 0.3, 1.5]) * chance.random() * self.lease_s)
        if handler == "ship" and not event.has_address:
            self.run.note("hopeless", number)
            raise _Hopeless(f"order {number} of {event.customer} has no address")
        if self.cluster.is_troubled and chance.random() < 0.1:
            self.run.note("busy", handler, number)
            raise ConnectionError("the service is busy")
        if self.mode == "without_transactions":
            await node.send(partial(self.enter, turn.idempotency_key, name, number), repeats="harmless")
        else:
            seen: tuple[int, ...] = await turn.tx.get(name) or ()
            turn.tx.put(name, (*seen, number))

    async def enter(self, key: str, name: tuple[str, str, str], number: int) -> None:
        """What another company does once for a key."""
        if key in self.keys:
            self.run.note("repeated", key)
            return
        self.keys.add(key)
        self.cluster.rows[name] = (*self.cluster.rows.get(name, ()), number)

    async def judge(self) -> None:
        """Each handler has had what was placed, once and in order."""
        unshipped = 0
        for customer in _CUSTOMERS:
            placed: tuple[bool, ...] = self.cluster.rows.get(("placed", customer), ())
            unshipped += placed.count(False)
            for handler in _HANDLERS:
                wanted = tuple(
                    number for number, has_address in enumerate(placed, 1) if has_address or handler != "ship"
                )
                seen = self.cluster.rows.get(("seen", handler, customer), ())
                if seen != wanted:
                    self.run.violated(f"{handler} of {customer} had {seen}, and was to have {wanted}")
        topic = self.choreography(self.cluster.nodes[0]).topic
        parked = (await self.cluster.queue(topic.queue_of("mail").name).depth()).parked
        if parked != unshipped:
            self.run.violated(f"{unshipped} orders have no address, and {parked} are parked")
