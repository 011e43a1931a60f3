"""Nodes that share a few permits, crash and stand still while they hold one.

Promises, by the store's clock: never more holders of a key than there are permits; fences grow; each comes in its
turn. By true time: work is cancelled at the latest when its lease ends, and more are at work only where one of them
stood still. When the trouble is over, all permits can be held at once.
"""

from __future__ import annotations

import asyncio

from sdpatterns.coordination.semaphore import Semaphore
from sdpatterns.errors import BackendError, LeaseLost, LeaseNotGranted
from sdpatterns.testing.simulation.atwork import AtWork
from sdpatterns.testing.simulation.cluster import TROUBLES, Cluster, Node
from sdpatterns.testing.simulation.lines import LineJudge
from sdpatterns.testing.simulation.world import Run

__all__ = ["SemaphoreWorld"]

_LEASES = 6


class SemaphoreWorld:
    """See the module."""

    name = "semaphore"
    sometimes = (
        *TROUBLES,
        "granted", "handed_over", "taken_over", "renewed", "released", "refused", "lost", "outage", "full",
        "overlapped",
    )  # fmt: skip

    async def play(self, run: Run) -> None:
        """Some nodes and their work, trouble, then peace, then the judgement."""
        await _Exports(run).live()


class _Exports:
    def __init__(self, run: Run) -> None:
        self.run = run
        chance = run.chance
        self.lease_s = chance.choice([1.0, 3.0, 10.0])
        self.permits = chance.randint(1, 3)
        judge = LineJudge(run, slots=self.permits)
        trouble = run.trouble(pause_max_s=3 * self.lease_s)
        self.cluster = Cluster(run, nodes=chance.randint(2, 4), trouble=trouble, tell=judge.tell)
        self.at_work = AtWork(self.cluster, judge, self.lease_s)
        self.at_once = 0

    async def live(self) -> None:
        """Everything."""
        self.cluster.start(self.program)
        await self.cluster.suffer(_LEASES * self.lease_s)
        await asyncio.sleep(2 * self.lease_s)
        await self.cluster.stop()
        await asyncio.sleep(10.0)
        await self.cluster.all_arrived()
        await asyncio.sleep(2 * self.lease_s)
        self.cluster.nodes[0].start(self.last)
        await asyncio.sleep(10.0 + 4 * self.lease_s)
        if self.at_once < self.permits:
            self.run.violated(f"{self.at_once} of {self.permits} permits could be held at once when all was well")

    def semaphore(self, node: Node) -> Semaphore:
        """The semaphore, as that node has it."""
        return Semaphore(
            "exports", permits=self.permits, store=node.states, signals=node.signals,
            lease_s=self.lease_s, wait_max_s=10.0, callers=node.ids,
        )  # fmt: skip

    async def program(self, node: Node) -> None:
        """Some tasks that want permits, for as long as the node lives."""
        semaphore = self.semaphore(node)
        async with asyncio.TaskGroup() as group:
            for _ in range(node.chance.randint(1, 3)):
                group.create_task(self.exporter(node, semaphore))

    async def exporter(self, node: Node, semaphore: Semaphore) -> None:
        """Again and again: hold a permit and work, for up to two leases."""
        chance = node.chance
        while True:
            await asyncio.sleep(chance.choice([0.0, 0.5, 2.0]) * chance.random() * self.lease_s)
            try:
                async with semaphore.guard("t") as held:
                    piece = self.at_work.begin("t", held.who, held.fence, node)
                    try:
                        await asyncio.sleep(chance.choice([0.1, 1.0, 2.0]) * chance.random() * self.lease_s)
                    finally:
                        self.at_work.end("t", piece)
            except LeaseNotGranted:
                self.run.note("refused", node.name)
            except LeaseLost:
                self.run.note("lost", node.name)
            except BackendError as error:
                self.run.note("outage", node.name, type(error).__name__)

    async def last(self, node: Node) -> None:
        """Hold all of them at the same time."""
        semaphore = self.semaphore(node)

        async def hold() -> None:
            """Hold one for longer than a lease."""
            async with semaphore.guard("t"):
                self.at_once += 1
                await asyncio.sleep(2 * self.lease_s)
                self.run.note("full")

        await asyncio.gather(*[hold() for _ in range(self.permits)])
