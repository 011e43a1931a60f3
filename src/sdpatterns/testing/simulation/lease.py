"""Nodes that change a register while they hold a lease, crash, stand still for longer than it lasts, and come back.

Promises, by the store's clock: one holder of a key at a time, and none that the line did not let in first; fences grow
from holder to holder; nothing but its own end, its renewal and its release changes a lease. By true time: work is
cancelled at the latest when its lease ends, and two holders work on a key at once only where one of them stood still.
The register refuses an older fence, so its writes are in the order of the fences, and no update that it acknowledged
is lost. When the trouble is over, every key can be held again, soon.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from sdpatterns.coordination.lease import Lease
from sdpatterns.coordination.lease.held import Held
from sdpatterns.core.fence import Fence
from sdpatterns.errors import BackendError, LeaseLost, LeaseNotGranted, StaleFence
from sdpatterns.testing.simulation.atwork import AtWork
from sdpatterns.testing.simulation.cluster import TROUBLES, Cluster, Node
from sdpatterns.testing.simulation.lines import LineJudge
from sdpatterns.testing.simulation.world import Run

__all__ = ["LeaseWorld", "Register"]

_KEYS = ("a", "b")
_LEASES = 6


class LeaseWorld:
    """See the module."""

    name = "lease"
    sometimes = (
        *TROUBLES,
        "granted", "handed_over", "taken_over", "renewed", "released", "refused", "lost", "late_write",
        "outage", "written", "in_doubt", "overlapped", "followed", "served",
    )  # fmt: skip

    async def play(self, run: Run) -> None:
        """Some nodes and their work, trouble, then peace, then the judgement."""
        await _House(run).live()


class Register:
    """A machine of its own with one value, which refuses an older fence, on read and on write."""

    def __init__(self, name: str) -> None:
        self.fence = Fence(name)
        self.updates: list[tuple[int, str]] = []

    async def read(self, token: int) -> Sequence[tuple[int, str]]:
        """All updates that it has."""
        self.fence.check(token)
        return tuple(self.updates)

    async def write(self, token: int, updates: Sequence[tuple[int, str]]) -> None:
        """Have these updates instead."""
        self.fence.check(token)
        self.updates = list(updates)


class _House:
    def __init__(self, run: Run) -> None:
        self.run = run
        chance = run.chance
        self.lease_s = chance.choice([1.0, 3.0, 10.0])
        self.judge = LineJudge(run, slots=1)
        self.cluster = Cluster(
            run, nodes=chance.randint(2, 4), trouble=run.trouble(pause_max_s=3 * self.lease_s), tell=self.judge.tell
        )
        self.registers = {key: Register(key) for key in _KEYS}
        self.acknowledged: dict[str, set[str]] = defaultdict(set)
        self.at_work = AtWork(self.cluster, self.judge, self.lease_s)

    async def live(self) -> None:
        """Everything."""
        self.cluster.start(self.program)
        await self.cluster.suffer(_LEASES * self.lease_s)
        await asyncio.sleep(2 * self.lease_s)
        await self.cluster.stop()
        await self.peace()
        self.judge_registers()

    def lease(self, node: Node) -> Lease:
        """The lease, as that node has it."""
        return Lease(
            "till", store=node.states, signals=node.signals, lease_s=self.lease_s, wait_max_s=10.0, callers=node.ids
        )

    async def program(self, node: Node) -> None:
        """Some tasks that change the registers, for as long as the node lives."""
        lease = self.lease(node)
        async with asyncio.TaskGroup() as group:
            for _ in range(node.chance.choice([1, 2, 8])):
                group.create_task(self.clerk(node, lease))

    async def clerk(self, node: Node, lease: Lease) -> None:
        """Again and again: hold a key, change its register, let go."""
        chance = node.chance
        while True:
            await asyncio.sleep(chance.choice([0.0, 0.5, 4.0]) * chance.random() * self.lease_s)
            key = chance.choice(_KEYS)
            try:
                if chance.random() < 0.7:
                    async with lease.guard(key) as held:
                        await self.work(node, key, held)
                else:
                    await self.by_hand(node, lease, key)
            except LeaseNotGranted:
                self.run.note("refused", node.name, key)
            except LeaseLost:
                self.run.note("lost", node.name, key)
            except StaleFence:
                self.run.note("late_write", node.name, key)
            except BackendError as error:
                self.run.note("outage", node.name, type(error).__name__)

    async def by_hand(self, node: Node, lease: Lease, key: str) -> None:
        """Without a block: it renews by itself, or forgets to, and sometimes keeps what it has to the end."""
        chance = node.chance
        held = (await lease.acquire(key)).permit
        if held is None:
            self.run.note("refused", node.name, key)
            return
        for _ in range(chance.randint(0, 2)):
            await asyncio.sleep(chance.random() * self.lease_s)
            if not await lease.renew(held):
                self.run.note("lost", node.name, key)
                return
        await self.update(node, key, held)
        if chance.random() < 0.8:
            await lease.release(held)

    async def work(self, node: Node, key: str, held: Held) -> None:
        """Change the register, slowly, for up to four leases; no other node may be at it."""
        piece = self.at_work.begin(key, held.who, held.fence, node)
        try:
            await self.update(node, key, held)
        finally:
            self.at_work.end(key, piece)

    async def update(self, node: Node, key: str, held: Held) -> None:
        """Read, think, write."""
        chance, register, name = node.chance, self.registers[key], node.ids()
        before = await node.send(lambda: register.read(held.fence), repeats="harmless")
        await asyncio.sleep(chance.choice([0.1, 1.0, 4.0]) * chance.random() * self.lease_s)
        try:
            await node.send(lambda: register.write(held.fence, (*before, (held.fence, name))), repeats="harmless")
        except BackendError:
            self.run.note("in_doubt", key, name)
            raise
        self.acknowledged[key].add(name)
        self.run.note("written", key, name, held.fence)

    async def peace(self) -> None:
        """What is under way arrives, what is held is over; then every key can be held and changed."""
        await asyncio.sleep(10.0)
        await self.cluster.all_arrived()
        await asyncio.sleep(2 * self.lease_s)
        node = self.cluster.nodes[0]
        node.start(self.last)
        await asyncio.sleep(10.0 + 10 * self.lease_s)

    async def last(self, node: Node) -> None:
        """Hold each key once more."""
        lease = self.lease(node)
        for key in _KEYS:
            async with lease.guard(key) as held:
                await self.update(node, key, held)
                self.run.note("in_peace", key)

    def judge_registers(self) -> None:
        """No acknowledged update is lost, and the fences are in order."""
        for key, register in self.registers.items():
            fences = [fence for fence, _ in register.updates]
            if fences != sorted(fences):
                self.run.violated(f"the register {key} was written in another order than that of the fences")
            lost = self.acknowledged[key] - {name for _, name in register.updates}
            if lost:
                self.run.violated(f"{len(lost)} acknowledged updates of {key} are lost; first: {min(lost)}")
        if self.run.counts["in_peace"] < len(_KEYS):
            self.run.violated("not every key could be held when all was well")
