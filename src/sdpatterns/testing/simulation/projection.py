"""Nodes that append events, and runners on each of them that keep a view of them, in two versions side by side.

Promises: a view is the fold of the log, each event applied once and those of a stream in order, with a position in the
same transaction or in the document; an event that cannot be applied parks its stream and no other; who waits for the
position of its own event sees it in the view; and readers are told to read a new version only once it has caught up.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any, TypeVar

from sdpatterns.core.step import UNCHANGED
from sdpatterns.errors import BackendError, DeadlineExceeded
from sdpatterns.messaging.eventstore import EventStore, StoredEvent
from sdpatterns.messaging.projection import Projection
from sdpatterns.messaging.projection.decision import ProjectionState
from sdpatterns.messaging.schema import EventSchema, EventType
from sdpatterns.ports.log import ANY
from sdpatterns.testing.simulation.cluster import TROUBLES, Cluster, Node
from sdpatterns.testing.simulation.database import NodeTransaction
from sdpatterns.testing.simulation.record import Happened
from sdpatterns.testing.simulation.world import Run

__all__ = ["ProjectionWorld"]

A = TypeVar("A")

_LEASES = 6
_PEACE_S = 900.0
_STREAMS = ("s1", "s2", "s3", "s4", "s5")
_VERSIONS = (1, 2)
_VIEW = "balances"


class ProjectionWorld:
    """See the module."""

    name = "projection"
    sometimes = (
        *TROUBLES,
        "appended", "applied", "applied_again", "failed", "parked", "left_out", "mended", "seen", "not_seen_in_time",
        "in_a_document", "several_partitions", "conflict", "restarted", "rebuilt", "read_old", "read_new",
    )  # fmt: skip

    async def play(self, run: Run) -> None:
        """Some nodes, trouble, then peace, then the judgement."""
        await _Bank(run).live()


@dataclasses.dataclass(frozen=True)
class _Booked:
    """An event; what is `faulty` cannot be applied before a mended release, and what is `hopeless` never."""

    cents: int
    health: str = ""


_SCHEMA = EventSchema(EventType("booked", _Booked))


class _PlacedProjection(Projection):
    """A runner whose name is the same in each run of a seed."""

    def __init__(self, node: Node, apply: Any, version: int, **settings: Any) -> None:
        self._node = node
        super().__init__(_VIEW, bank_store(node), apply, backend=node, version=version, **settings)

    def _new_runner(self) -> str:
        return self._node.ids()


def bank_store(backend: Any) -> EventStore:
    """The store of all nodes."""
    ids = getattr(backend, "ids", None)
    return EventStore("bank", backend=backend, schema=_SCHEMA, ids=ids or (lambda: "office"))


class _Bank:
    def __init__(self, run: Run) -> None:
        self.run = run
        chance = run.chance
        self.lease_s = chance.choice([1.0, 3.0, 8.0])
        trouble = run.trouble(pause_max_s=3 * self.lease_s)
        self.cluster = Cluster(run, nodes=chance.randint(2, 3), trouble=trouble, tell=self.tell)
        self.in_documents = chance.random() < 0.3
        self.partitions = chance.choice([1, 1, 3])
        self.settings: dict[str, Any] = {
            "batch": chance.choice([1, 3, 20]), "attempts_max": 3, "retry_s": 0.3, "lease_s": self.lease_s,
            "poll_s": 1.0, "drain_s": self.lease_s, "partitions": self.partitions,
        }  # fmt: skip
        self.is_mended = False
        self.is_rebuilding = False
        self.states: dict[str, ProjectionState] = {}
        self.parked_ever: dict[int, set[str]] = defaultdict(set)
        self.has_caught_up: set[int] = set()
        self.newest_read: dict[str, int] = defaultdict(int)
        if self.in_documents:
            run.note("in_a_document")
        if self.partitions > 1:
            run.note("several_partitions")

    async def live(self) -> None:
        """Everything."""
        self.cluster.start(self.program)
        deploy = asyncio.create_task(self.deploy())
        await self.cluster.suffer(_LEASES * self.lease_s)
        deploy.cancel()
        await self.cluster.all_arrived()
        self.is_rebuilding = True
        await self.restart()
        await self.all_applied()
        # Before the mended release: a stream that waits has stopped no other one.
        await self.judge()
        self.is_mended = True
        await self.all_applied()
        await asyncio.sleep(5.0)
        await self.cluster.stop()
        await self.judge()
        await self.judge_live()

    async def deploy(self) -> None:
        """Restart all nodes with a release that has both versions of the view."""
        await asyncio.sleep(self.run.chance.random() * _LEASES / 2 * self.lease_s)
        self.is_rebuilding = True
        self.run.note("rebuilt")
        await self.restart()

    async def restart(self) -> None:
        """One node after another."""
        for node in self.cluster.nodes:
            await node.stop()
            if node.state == "down":
                self.run.note("restarted", node.name)
                node.start(self.program)
            await asyncio.sleep(self.run.chance.random() * self.lease_s)

    async def program(self, node: Node) -> None:
        """Runners of the versions that the release has, writers and readers."""
        versions = _VERSIONS if self.is_rebuilding else _VERSIONS[:1]
        runners = [self.runner(node, version) for version in versions]
        async with asyncio.TaskGroup() as group:
            for runner in runners:
                group.create_task(runner.run())
            for _ in range(2):
                group.create_task(self.writer(node, runners[0]))
            group.create_task(self.reader(node, runners[0]))

    def runner(self, node: Node, version: int) -> Projection:
        """One of the runners of a version."""

        def in_transaction(stored: StoredEvent, within: NodeTransaction) -> Coroutine[Any, Any, None]:
            """With a position beside it."""
            return self.apply(node, version, stored, within)

        async def in_document(stored: StoredEvent) -> None:
            """With the position in the row."""
            async with node.transaction() as within:
                await self.apply(node, version, stored, within)

        if self.in_documents:
            return _PlacedProjection(node, in_document, version, **self.settings)
        return _PlacedProjection(node, in_transaction, version, transactions=node.transaction, **self.settings)

    async def apply(self, node: Node, version: int, stored: StoredEvent, within: NodeTransaction) -> None:
        """The effect of one event: the row of its stream has the sum, and the versions that are in it."""
        chance, health = node.chance, stored.event.health
        await asyncio.sleep(chance.choice([0.0, 0.0, 0.2]) * chance.random() * self.lease_s)
        if health == "hopeless" or (health == "faulty" and not self.is_mended):
            self.run.note("failed", stored.id)
            raise ValueError(f"{stored.id} is {health}")
        if self.cluster.is_troubled and chance.random() < 0.03:
            self.run.note("failed", stored.id)
            raise ValueError(f"bad luck with {stored.id}")
        name = ("view", version, stored.stream)
        position, cents, seen = await within.get(name) or (0, 0, ())
        if self.in_documents and stored.position <= position:
            self.run.note("applied_again", stored.id)
            return
        within.put(name, (stored.position, cents + stored.event.cents, (*seen, stored.version)))
        self.run.note("applied", stored.id)

    async def writer(self, node: Node, projection: Projection) -> None:
        """Books, and waits now and then until its view has it."""
        chance, store = node.chance, bank_store(node)
        for _ in range(chance.randint(1, 6)):
            await asyncio.sleep(chance.random() * self.lease_s)
            if not self.cluster.is_troubled:
                return
            stream = chance.choice(_STREAMS)
            health = chance.choice([*[""] * 12, "faulty", "hopeless"])
            try:
                events = [_Booked(chance.randint(1, 9), health if place == 0 else "") for place in range(2)]
                appended = await store.append(stream, ANY, events)
                self.run.note("appended", stream, appended)
                if chance.random() < 0.5:
                    await projection.caught_up(appended.position, timeout_s=2 * self.lease_s)
                    self.must_see(stream, appended.version)
            except DeadlineExceeded:
                self.run.note("not_seen_in_time", stream)
            except BackendError:
                self.run.note("conflict", stream)

    def must_see(self, stream: str, version: int) -> None:
        """The view has the event, or its stream is parked, or it was left out."""
        _, _, seen = self.cluster.rows.get(("view", 1, stream), (0, 0, ()))
        if version in seen:
            self.run.note("seen", stream, version)
        elif stream not in self.parked_ever[1]:
            self.run.violated(f"the position is behind version {version} of {stream}, and the view is not: {seen}")

    async def reader(self, node: Node, projection: Projection) -> None:
        """Asks which version it is to read."""
        while True:
            try:
                live = await projection.live_version()
            except BackendError:
                live = 0
            if live:
                self.run.note("read_new" if live == _VERSIONS[-1] else "read_old")
                if live not in self.has_caught_up:
                    self.run.violated(f"readers are told to read version {live}, which has not caught up")
                if live < self.newest_read[node.name]:
                    self.run.violated(f"readers were told to read version {live} after a later one")
                self.newest_read[node.name] = live
            await asyncio.sleep(node.chance.random() * self.lease_s)

    def tell(self, happened: Happened) -> None:
        """What the store keeps of a version has changed, or was looked at."""
        before, after = happened.before[0], happened.after[0]
        state = before if after is UNCHANGED else after
        if not isinstance(state, ProjectionState):
            return
        [key] = happened.keys
        self.states[key] = state
        version = _version_of(key)
        if state.parked.keys() - self.parked_ever[version]:
            self.run.note("parked", version, sorted(state.parked))
            self.parked_ever[version].update(state.parked)
        if after is not UNCHANGED and before is not None and after.position < before.position:
            self.run.violated(f"the position of {key} went from {before.position} to {after.position}")
        cells = [it for name, it in self.states.items() if _version_of(name) == version]
        head = _at_once(self.cluster.log("bank").head()).position
        # A partition that no runner has taken yet stands before the first event: with an empty log it has caught up.
        is_whole = head == 0 or len(cells) == self.partitions
        if is_whole and all(it.position >= head and not it.parked for it in cells):
            self.has_caught_up.add(version)

    async def all_applied(self) -> None:
        """Each version has all events but those of streams whose first event in line cannot be applied."""
        log, left = self.cluster.log("bank"), "?"
        offices = [_OfficeProjection(self.cluster, version, self.settings) for version in _VERSIONS]
        for _ in range(int(_PEACE_S / self.lease_s)):
            await asyncio.sleep(self.lease_s)
            head = (await log.head()).position
            behind = [await it.position() - head for it in offices]
            waiting = [await self.operated(it) for it in offices]
            if not any(behind) and not any(waiting):
                return
            left = f"{behind} positions, {waiting} streams"
        self.run.violated(f"after {_PEACE_S:g} s of peace versions {_VERSIONS} lack {left}")

    async def operated(self, projection: Projection) -> int:
        """An operator looks after what is parked; how many streams are on their way."""
        events = {(it.stream, it.version): it for it in await self.recorded()}
        waiting = 0
        for stream, parked in (await projection.parked()).items():
            event = events.get((stream, parked.version))
            # None where all of its events are applied, and the runner has not let the stream go yet.
            health = "" if event is None else event.event.health
            if health == "faulty" and not self.is_mended:
                continue
            waiting += 1
            if parked.due_us is None:
                leave_out = health == "hopeless"
                self.run.note("left_out" if leave_out else "mended", stream, parked.version)
                await projection.retry(stream, leave_out=leave_out)
        return waiting

    async def recorded(self) -> list[StoredEvent]:
        """The whole log."""
        return list((await bank_store(self.cluster).read_all(0, 10_000)).events)

    async def judge(self) -> None:
        """Each version is the fold of the log."""
        wanted: dict[str, tuple[int, tuple[int, ...]]] = {}
        ended: set[str] = set()
        for it in await self.recorded():
            health = it.event.health
            if health == "faulty" and not self.is_mended:
                ended.add(it.stream)
            if it.stream not in ended and health != "hopeless":
                cents, seen = wanted.get(it.stream, (0, ()))
                wanted[it.stream] = (cents + it.event.cents, (*seen, it.version))
        for version in _VERSIONS:
            for stream in _STREAMS:
                found = self.cluster.rows.get(("view", version, stream), (0, 0, ()))[1:]
                if found != wanted.get(stream, (0, ())):
                    self.run.violated(f"version {version} has {stream} as {found}, the log as {wanted.get(stream)}")
        self.run.note("judged", sorted(ended))

    async def judge_live(self) -> None:
        """In the end readers are told to read the newest version."""
        live = await _OfficeProjection(self.cluster, 1, self.settings).live_version()
        if live != _VERSIONS[-1]:
            self.run.violated(f"all is applied, and readers are told to read version {live}")


class _OfficeProjection(Projection):
    """A projection that is only asked."""

    def __init__(self, office: Any, version: int, settings: dict[str, Any]) -> None:
        super().__init__(_VIEW, bank_store(office), print, backend=office, version=version, **settings)


def _version_of(key: str) -> int:
    return int(key.split("/")[1])


def _at_once(call: Coroutine[Any, Any, A]) -> A:
    """The answer of a call that does not suspend."""
    try:
        call.send(None)
    except StopIteration as end:
        answer: A = end.value
        return answer
    raise RuntimeError("it suspended")
