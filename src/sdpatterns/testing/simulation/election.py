"""Nodes that lead in turn, crash and stand still while they lead.

Promises, by the store's clock: one leader at a time, and each term has a larger number than all before it. By true
time: no leader works after its lease, and two work at once only where one of them stood still. A resource that is
given the number refuses that of an earlier term, and loses no write that it acknowledged. One that watches sees terms
in their order. When the trouble is over there is a leader that works, and one that watches sees it.
"""

from __future__ import annotations

import asyncio

from sdpatterns.coordination.election import Election, Term
from sdpatterns.errors import BackendError, StaleFence
from sdpatterns.testing.simulation.atwork import AtWork
from sdpatterns.testing.simulation.cluster import TROUBLES, Cluster, Node
from sdpatterns.testing.simulation.lease import Register
from sdpatterns.testing.simulation.lines import LineJudge
from sdpatterns.testing.simulation.world import Run

__all__ = ["ElectionWorld"]

_LEASES = 8


class ElectionWorld:
    """See the module."""

    name = "election"
    sometimes = (
        *TROUBLES,
        "granted", "handed_over", "taken_over", "renewed", "released", "led", "resigned", "seen", "none_seen",
        "late_write", "outage", "written", "overlapped",
    )  # fmt: skip

    async def play(self, run: Run) -> None:
        """Some candidates, trouble, then peace, then the judgement."""
        await _Parliament(run).live()


class _Parliament:
    def __init__(self, run: Run) -> None:
        self.run = run
        chance = run.chance
        self.lease_s = chance.choice([1.0, 3.0, 10.0])
        judge = LineJudge(run, slots=1)
        trouble = run.trouble(pause_max_s=3 * self.lease_s)
        self.cluster = Cluster(run, nodes=chance.randint(2, 4), trouble=trouble, tell=judge.tell)
        self.at_work = AtWork(self.cluster, judge, self.lease_s)
        self.register = Register("policy")
        self.acknowledged: set[str] = set()
        self.seen = 0

    async def live(self) -> None:
        """Everything."""
        self.cluster.start(self.program)
        await self.cluster.suffer(_LEASES * self.lease_s)
        await asyncio.sleep(10.0 + 3 * self.lease_s)
        before, seen = len(self.acknowledged), self.seen
        await asyncio.sleep(10.0 + 6 * self.lease_s)
        if len(self.acknowledged) == before:
            self.run.violated("no leader did anything when all was well")
        if not seen:
            self.run.violated("one that watched never saw a leader")
        await self.cluster.stop()
        lost = self.acknowledged - {name for _, name in self.register.updates}
        if lost:
            self.run.violated(f"{len(lost)} acknowledged writes are lost; first: {min(lost)}")

    async def program(self, node: Node) -> None:
        """Stand, lead, and watch, for as long as the node lives."""
        election = Election(
            "chair", store=node.states, signals=node.signals, candidate=node.name, lease_s=self.lease_s,
            callers=node.ids,
        )  # fmt: skip
        async with asyncio.TaskGroup() as group:
            group.create_task(self.stand(node, election))
            group.create_task(self.watch(node, election))

    async def stand(self, node: Node, election: Election) -> None:
        """Lead whenever it is elected; resign now and then."""

        async def work(term: Term) -> None:
            """What only the leader does."""
            await self.lead(node, term)

        while True:
            try:
                await election.run(work)
                self.run.note("resigned", node.name)
            except StaleFence:
                self.run.note("late_write", node.name)
            await asyncio.sleep(node.chance.random() * self.lease_s)

    async def lead(self, node: Node, term: Term) -> None:
        """Write to the register, again and again, with the number of the term."""
        self.run.note("led", node.name, term.number)
        piece = self.at_work.begin("", f"{node.name} in term {term.number}", term.number, node)
        try:
            for _ in range(node.chance.randint(1, 6)):
                await self.write(node, term.number)
                if await term.wait(node.chance.random() * self.lease_s):
                    return
        finally:
            self.at_work.end("", piece)

    async def write(self, node: Node, number: int) -> None:
        """Add to what is there."""
        name, register = node.ids(), self.register
        try:
            before = await node.send(lambda: register.read(number), repeats="harmless")
            # Not harmless: a late copy would undo the next write of the same term.
            await node.send(lambda: register.write(number, (*before, (number, name))))
        except BackendError as error:
            self.run.note("outage", node.name, type(error).__name__)
        else:
            self.acknowledged.add(name)
            self.run.note("written", name, number)

    async def watch(self, node: Node, election: Election) -> None:
        """Look at each change of the leader."""
        last = 0
        while True:
            try:
                async with election.watch() as changes:
                    async for leader in changes:
                        if leader is None:
                            self.run.note("none_seen", node.name)
                            continue
                        self.run.note("seen", node.name, leader.candidate, leader.term)
                        self.seen += 1
                        if leader.term < last:
                            self.run.violated(f"{node.name} saw term {leader.term} after term {last}")
                        last = leader.term
            except BackendError:
                await asyncio.sleep(node.chance.random() * self.lease_s)
