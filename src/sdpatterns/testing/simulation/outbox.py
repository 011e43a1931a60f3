"""Nodes that change orders and publish what happened in the same transaction, and relays that carry it on.

Promises: the other side has each event of a transaction that committed, once behind its inbox, and those of one order
in the order of their commits; it has nothing of a transaction that was rolled back.
"""

from __future__ import annotations

import asyncio
from typing import Any

from sdpatterns.errors import BackendError
from sdpatterns.messaging.cloudevents import CloudEvent
from sdpatterns.messaging.consumer import Redelivery
from sdpatterns.messaging.inbox import Inbox
from sdpatterns.messaging.outbox import Outbox, Relay
from sdpatterns.ports.queue import QueueDepth
from sdpatterns.testing.simulation.cluster import TROUBLES, Cluster, Node
from sdpatterns.testing.simulation.world import Run

__all__ = ["OutboxWorld"]

_ORDERS = ("o1", "o2")
_PEACE_S = 900.0
_LEASES = 6
_PATIENT = Redelivery(attempts_max=1_000, base_s=0.1, max_s=1.0)


class OutboxWorld:
    """See the module."""

    name = "outbox"
    sometimes = (
        *TROUBLES,
        "changed", "rolled_back", "conflict", "handed_over", "handed_over_again", "arrived", "not_new", "refused",
    )  # fmt: skip

    async def play(self, run: Run) -> None:
        """Some nodes, trouble, then peace, then the judgement."""
        await _Orders(run).live()


class _RolledBack(Exception):
    """The customer thought better of it."""


class _Orders:
    def __init__(self, run: Run) -> None:
        self.run = run
        chance = run.chance
        self.lease_s = chance.choice([1.0, 3.0, 8.0])
        trouble = run.trouble(pause_max_s=3 * self.lease_s)
        self.cluster = Cluster(run, nodes=chance.randint(2, 3), trouble=trouble)
        self.inbox = Inbox("shipping")
        self.carried: set[str] = set()

    async def live(self) -> None:
        """Everything."""
        self.cluster.start(self.program)
        await self.cluster.suffer(_LEASES * self.lease_s)
        await self.drained()
        await self.cluster.stop()
        for order in _ORDERS:
            changes: int = self.cluster.rows.get(("order", order), 0)
            seen: tuple[int, ...] = self.cluster.rows.get(("seen", order), ())
            if seen != tuple(range(1, changes + 1)):
                self.run.violated(f"{order} was changed {changes} times, and the other side saw {seen}")

    async def drained(self) -> None:
        """Everything is carried on."""
        queue = self.cluster.queue("outbox/orders")
        depth: QueueDepth | None = None
        await asyncio.sleep(10.0)
        for _ in range(int(_PEACE_S / self.lease_s)):
            depth = await queue.depth()
            if depth[:4] == (0, 0, 0, 0):
                return
            await asyncio.sleep(self.lease_s)
        self.run.violated(f"there are events left after {_PEACE_S:g} s of peace: {depth}")

    async def program(self, node: Node) -> None:
        """A relay and some customers, for as long as the node lives."""
        outbox = Outbox("orders", backend=node, ids=node.ids)

        async def carry(event: CloudEvent) -> None:
            """The target of the relay."""
            await self.arrive(node, event)

        relay = Relay(
            outbox, carry, redelivery=_PATIENT, concurrency=4, lease_s=self.lease_s, poll_s=2.0, drain_s=self.lease_s
        )
        async with relay:
            for _ in range(node.chance.randint(2, 6)):
                await asyncio.sleep(node.chance.random() * self.lease_s)
                await self.change(node, outbox)
            await asyncio.Event().wait()

    async def change(self, node: Node, outbox: Outbox) -> None:
        """One change of one order, and the event of it, or neither."""
        order = node.chance.choice(_ORDERS)
        try:
            async with node.transaction() as within:
                changes: int = (await within.get(("order", order)) or 0) + 1
                within.put(("order", order), changes)
                await outbox.publish(outbox.event("/orders", "order.changed", order, changes), within=within)
                await asyncio.sleep(node.chance.choice([0.0, 0.3]) * node.chance.random())
                self.may_commit(node)
            self.run.note("changed", order, changes)
        except _RolledBack:
            self.run.note("rolled_back", order)
        except BackendError as error:
            self.run.note("conflict", order, type(error).__name__)

    def may_commit(self, node: Node) -> None:
        """Raise now and then, so that the transaction is rolled back."""
        if node.chance.random() < 0.2:
            raise _RolledBack

    async def arrive(self, node: Node, event: CloudEvent) -> None:
        """The other side takes an event, slowly, and refuses it now and then."""
        chance, number = node.chance, event.data
        self.run.note("handed_over_again" if event.id in self.carried else "handed_over", event.id)
        self.carried.add(event.id)
        await asyncio.sleep(chance.choice([0.0, 0.3, 1.5]) * chance.random() * self.lease_s)
        if chance.random() < 0.1:
            self.run.note("refused", event.id)
            raise ConnectionError("the other side is away")
        async with node.transaction() as within:
            if not await self.inbox.is_new(event.id, within=within):
                self.run.note("not_new", event.id)
                return
            seen: tuple[Any, ...] = await within.get(("seen", event.subject)) or ()
            within.put(("seen", event.subject), (*seen, number))
        self.run.note("arrived", event.id, number)
