"""Nodes that enqueue jobs and run them, crash in the middle of one, stand still, are restarted, and come back late.

Promises: each job that was enqueued is done once, behind an inbox, or is a dead letter in the end; none is lost. The
jobs of a key are done in the order in which they were enqueued, behind the fence of each attempt. A job whose handler
always fails becomes a dead letter, at its last attempt and not before, and none is tried again after that.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

from sdpatterns.errors import BackendError, StaleFence
from sdpatterns.messaging.inbox import Inbox
from sdpatterns.messaging.jobs import Job, Jobs, Worker, current_job
from sdpatterns.messaging.jobs.presence import Presence
from sdpatterns.ports.queue import Park, QueueDepth, Requeue
from sdpatterns.testing.simulation.cluster import TROUBLES, Cluster, Node
from sdpatterns.testing.simulation.record import QueueCall
from sdpatterns.testing.simulation.world import Run

__all__ = ["JobsWorld"]

_ATTEMPTS = 4
_PEACE_S = 900.0
_LEASES = 6
_QUEUE = "payments"


class _PlacedWorker(Worker):
    """A worker that is in no real process, so that its entry among the workers is the same in each run."""

    def _presence(self, began_s: float) -> Presence:
        return super()._presence(began_s)._replace(host="simulated", pid=0)


class JobsWorld:
    """See the module."""

    name = "jobs"
    sometimes = (
        *TROUBLES,
        "enqueued", "enqueued_again", "begun", "begun_again", "done", "not_new", "failed", "retried", "given_back",
        "parked", "stale", "in_doubt",
    )  # fmt: skip

    async def play(self, run: Run) -> None:
        """Some nodes and their jobs, trouble, then peace, then the judgement."""
        await _Payments(run).live()


class _Payments:
    def __init__(self, run: Run) -> None:
        self.run = run
        chance = run.chance
        self.lease_s = chance.choice([1.0, 3.0, 8.0])
        trouble = run.trouble(pause_max_s=3 * self.lease_s)
        self.cluster = Cluster(run, nodes=chance.randint(2, 3), trouble=trouble, told=self.told)
        self.inbox = Inbox("payments")
        self.keys: dict[str, str | None] = {}
        self.lines: dict[str, list[str]] = defaultdict(list)
        self.begun: set[str] = set()
        self.accepted: set[str] = set()

    async def live(self) -> None:
        """Everything."""
        self.cluster.start(self.program)
        deploy = asyncio.create_task(self.deploy())
        await self.cluster.suffer(_LEASES * self.lease_s)
        deploy.cancel()
        await self.drained()
        await self.cluster.stop()
        await self.judge()

    async def deploy(self) -> None:
        """End the program of each node as a rolling deploy does, some time, and start it again."""
        for node in self.cluster.nodes:
            await asyncio.sleep(self.run.chance.random() * _LEASES * self.lease_s)
            await node.stop()
            if node.state == "down":
                node.start(self.program)

    async def drained(self) -> None:
        """All copies have arrived, and every job has come to its end."""
        queue = self.cluster.queue(_QUEUE)
        depth: QueueDepth | None = None
        await asyncio.sleep(10.0)
        for _ in range(int(_PEACE_S / self.lease_s)):
            depth = await queue.depth()
            if not (depth.due or depth.waiting or depth.leased):
                return
            await asyncio.sleep(self.lease_s)
        self.run.violated(f"there is work left after {_PEACE_S:g} s of peace: {depth}")

    async def program(self, node: Node) -> None:
        """A worker and a producer, for as long as the node lives."""
        jobs = Jobs(_QUEUE, backend=node, ids=node.ids)

        @jobs.job(attempts_max=_ATTEMPTS, base_s=0.2, max_s=1.0)
        async def pay(order: str, is_broken: bool) -> None:  # noqa: FBT001 - what the message says
            """The handler."""
            await self.pay(node, order, is_broken=is_broken)

        worker = _PlacedWorker(jobs, concurrency=3, lease_s=self.lease_s, poll_s=2.0, drain_s=self.lease_s)
        async with worker:
            await self.producer(node, pay)
            await asyncio.Event().wait()

    async def producer(self, node: Node, pay: Job[Any, Any]) -> None:
        """Enqueues some jobs, and sends again what it has no answer for."""
        chance = node.chance
        for _ in range(chance.randint(1, 4)):
            await asyncio.sleep(chance.random() * self.lease_s)
            name, key = node.ids(), chance.choice([None, "k1", "k2"])
            is_broken = chance.random() < 0.15
            named = pay.options(id=("broken" if is_broken else "good") + name, key=key)
            for _ in range(5):
                try:
                    handle = await named.enqueue(name, is_broken)
                except BackendError:
                    self.run.note("in_doubt", name)
                    await asyncio.sleep(chance.random())
                    continue
                self.accepted.add(handle.id)
                break

    async def pay(self, node: Node, order: str, *, is_broken: bool) -> None:
        """The effect of one job, behind its inbox and, where it has a key, the fence of its attempt."""
        chance, attempt = node.chance, current_job()
        self.run.note("begun_again" if attempt.id in self.begun else "begun", attempt.id, attempt.attempt)
        self.begun.add(attempt.id)
        await asyncio.sleep(chance.choice([0.0, 0.3, 1.5]) * chance.random() * self.lease_s)
        if is_broken or chance.random() < 0.1:
            self.run.note("failed", attempt.id)
            raise ValueError(f"no money for {order}")
        key = self.keys[attempt.id]
        async with node.transaction() as within:
            if not await self.inbox.is_new(attempt.id, within=within):
                self.run.note("not_new", attempt.id)
                return
            await asyncio.sleep(chance.choice([0.0, 0.5]) * chance.random() * self.lease_s)
            if key is not None:
                fence, done = await within.get(("key", key)) or (0, ())
                if attempt.fence < fence:
                    self.run.note("stale", attempt.id)
                    raise StaleFence(key, presented=attempt.fence, seen=fence)
                within.put(("key", key), (attempt.fence, (*done, attempt.id)))
            within.put(("times", attempt.id), (await within.get(("times", attempt.id)) or 0) + 1)
        self.run.note("done", attempt.id)

    def told(self, call: QueueCall) -> None:
        """What the queue did."""
        if call.verb == "publish":
            for message, is_added in zip(call.about, call.answer, strict=True):
                if is_added:
                    self.added(message.id, message.key)
        elif call.verb == "settle":
            for settlement, is_done in zip(call.about, call.answer, strict=True):
                if is_done:
                    self.settled(settlement)

    def added(self, name: str, key: str | None) -> None:
        """A message is in the queue."""
        if name in self.keys:
            self.run.note("enqueued_again", name)
            return
        self.run.note("enqueued", name)
        self.keys[name] = key
        if key is not None:
            self.lines[key].append(name)

    def settled(self, settlement: Any) -> None:
        """A worker is done with a message."""
        attempt = settlement.claimed.attempt
        if isinstance(settlement, Park):
            self.run.note("parked", settlement.claimed.id)
            if attempt < _ATTEMPTS:
                self.run.violated(f"{settlement.claimed.id} was parked at attempt {attempt} of {_ATTEMPTS}")
        elif isinstance(settlement, Requeue) and settlement.counts:
            self.run.note("retried", settlement.claimed.id)
            if attempt >= _ATTEMPTS:
                self.run.violated(f"{settlement.claimed.id} is to be tried again after attempt {attempt}")
        elif isinstance(settlement, Requeue):
            self.run.note("given_back", settlement.claimed.id)

    async def judge(self) -> None:
        """What became of each job."""
        rows = self.cluster.rows
        parked = {letter.id for letter in await self.cluster.queue(_QUEUE).parked(1000)}
        for name in sorted(self.accepted - self.keys.keys()):
            self.run.violated(f"{name} was enqueued, and never was in the queue")
        for name in self.keys:
            times = rows.get(("times", name), 0)
            if times > 1:
                self.run.violated(f"{name} was done {times} times")
            if not times and name not in parked:
                self.run.violated(f"{name} was neither done nor parked")
            if name.startswith("broken") and (times or name not in parked):
                self.run.violated(f"{name} can't be done, and is no dead letter")
        for key, line in self.lines.items():
            _, done = rows.get(("key", key), (0, ()))
            if list(done) != [name for name in line if name in done]:
                self.run.violated(f"{key} was done in the order {done}, and enqueued in the order {line}")
