"""Nodes that append to the streams of one log, and readers that keep their place with what they have read.

Promises: the versions of a stream have no gaps, and an append that expects one stands right behind it; an append is
stored whole or not at all, once, however often it is sent; what is answered with a conflict is never there. Each reader
gets all events once, in the order of the log, though it crashes between two of them and wake-ups are lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from sdpatterns.errors import BackendError, VersionConflict
from sdpatterns.ports.log import ANY, Appended, EventLog, Expected, NewEvent, RecordedEvent
from sdpatterns.testing.simulation.cluster import TROUBLES, Cluster, Node
from sdpatterns.testing.simulation.world import Run

__all__ = ["LogWorld"]

_STREAMS = ("s1", "s2")
_LOG = "ledger"
_PEACE_S = 20.0


class LogWorld:
    """See the module."""

    name = "log"
    sometimes = (
        *TROUBLES, "appended", "appended_to_any", "conflict", "in_doubt", "known_again", "read",
        "resumed",
    )  # fmt: skip

    async def play(self, run: Run) -> None:
        """Some writers and readers, trouble, then peace, then the judgement."""
        await _Ledger(run).live()


class _Ledger:
    def __init__(self, run: Run) -> None:
        self.run = run
        self.slow_s = run.chance.choice([0.3, 1.0, 3.0])
        trouble = run.trouble(pause_max_s=3 * self.slow_s)
        self.cluster = Cluster(run, nodes=run.chance.randint(2, 3), trouble=trouble)
        self.is_open = True
        self.appended: dict[str, int] = {}
        self.refused: set[str] = set()
        self.wholes: list[list[str]] = []

    async def live(self) -> None:
        """Everything."""
        self.cluster.start(self.program)
        # The last events are appended in the middle of the trouble, so that no later one makes up for a lost wake-up.
        asyncio.get_running_loop().call_later(5 * self.slow_s, self.close)
        await self.cluster.suffer(8 * self.slow_s)
        await asyncio.sleep(10.0 + 3 * self.slow_s)
        await self.cluster.all_arrived()
        await asyncio.sleep(_PEACE_S)
        await self.cluster.stop()
        log = self.cluster.log(_LOG)
        events = (await log.read_all(0, 10_000)).events
        self.judge_streams(events)
        self.judge_appends(events)
        self.judge_readers([event.id for event in events])

    def close(self) -> None:
        """Let the writers end."""
        self.is_open = False

    async def program(self, node: Node) -> None:
        """Two writers and two readers, for as long as the node lives."""
        log = node.log(_LOG)
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(self.writer(node, log))
            group.create_task(self.reader(node, log, self.subscribed))
            group.create_task(self.reader(node, log, self.paged))

    async def writer(self, node: Node, log: EventLog) -> None:
        """Looks at a stream, thinks, and appends behind what it saw."""
        chance = node.chance
        while self.is_open:
            await asyncio.sleep(2 * chance.random() * self.slow_s)
            stream = chance.choice(_STREAMS)
            events = [NewEvent(id=node.ids(), type="booked", data=b"1") for _ in range(chance.randint(1, 3))]
            self.wholes.append([event.id for event in events])
            try:
                expected: Expected = ANY if chance.random() < 0.2 else (await log.read(stream, limit=1)).version
            except BackendError:
                continue
            await asyncio.sleep(chance.choice([0.0, 0.3]) * chance.random() * self.slow_s)
            await self.append(node, log, stream, expected, events)

    async def append(
        self, node: Node, log: EventLog, stream: str, expected: Expected, events: Sequence[NewEvent]
    ) -> None:
        """Send it until there is an answer, a few times; one behind any version only once."""
        for sent in range(4):
            try:
                told = await log.append(stream, expected, events)
            except VersionConflict:
                self.run.note("conflict", stream, expected)
                self.refused.update(event.id for event in events)
                return
            except BackendError:
                self.run.note("in_doubt", stream)
                if expected is ANY:
                    return
                await asyncio.sleep(node.chance.random() * self.slow_s)
            else:
                self.told(told, expected, events, is_again=sent > 0)
                return

    def told(self, told: Appended, expected: Expected, events: Sequence[NewEvent], *, is_again: bool) -> None:
        """An append was acknowledged."""
        first = told.version - len(events)
        self.run.note("appended_to_any" if expected is ANY else "known_again" if is_again else "appended", told)
        if expected not in (ANY, first):
            self.run.violated(f"an append behind version {expected} stands behind version {first}")
        self.appended.update({event.id: first + place for place, event in enumerate(events, 1)})

    async def reader(self, node: Node, log: EventLog, follow: Any) -> None:
        """Reads on from the place that it has kept, whatever happens."""
        name = ("reader", node.name, follow.__name__)
        while True:
            try:
                position, seen = await node.transaction().get(name) or (0, ())
                if seen:
                    self.run.note("resumed", name, position)
                await follow(node, log, name, position)
            except BackendError:
                await asyncio.sleep(node.chance.random() * self.slow_s)

    async def subscribed(self, node: Node, log: EventLog, name: Any, position: int) -> None:
        """Event by event, as they come."""
        async with log.subscribe(position) as events:
            async for event in events:
                await self.keep(node, name, [event], event.position)

    async def paged(self, node: Node, log: EventLog, name: Any, position: int) -> None:
        """Page by page, looking now and then."""
        while True:
            page = await log.read_all(position, 2)
            await self.keep(node, name, page.events, page.position)
            position = page.position
            if not page.is_more:
                await asyncio.sleep(self.slow_s)

    async def keep(self, node: Node, name: Any, events: Sequence[RecordedEvent], position: int) -> None:
        """What was read and the place behind it, in one transaction."""
        if not events:
            return
        async with node.transaction() as within:
            before, seen = await within.get(name) or (0, ())
            if before >= events[0].position:
                # What its earlier life sent has arrived after all.
                raise BackendError("another life of this node came first")
            within.put(name, (position, (*seen, *[event.id for event in events])))
        self.run.note("read", name, position)

    def judge_streams(self, events: Sequence[RecordedEvent]) -> None:
        """No gap and no other order."""
        for stream in _STREAMS:
            versions = [event.version for event in events if event.stream == stream]
            if versions != list(range(1, len(versions) + 1)):
                self.run.violated(f"{stream} has the versions {versions}")

    def judge_appends(self, events: Sequence[RecordedEvent]) -> None:
        """Whole, once, where it was said, and never where it was refused."""
        versions = {event.id: event.version for event in events}
        if len(versions) < len(events):
            self.run.violated("an event is there twice")
        for name, version in self.appended.items():
            if versions.get(name) != version:
                self.run.violated(f"{name} was appended as version {version}, and is there as {versions.get(name)}")
        for name in sorted(self.refused & versions.keys()):
            self.run.violated(f"{name} was refused, and is there")
        for whole in self.wholes:
            if 0 < len(versions.keys() & set(whole)) < len(whole):
                self.run.violated(f"of {whole} only a part is there")

    def judge_readers(self, names: list[str]) -> None:
        """All events, in the order of the log."""
        for node in self.cluster.nodes:
            for how in ("subscribed", "paged"):
                _, seen = self.cluster.rows.get(("reader", node.name, how), (0, ()))
                if list(seen) != names:
                    self.run.violated(f"{node.name} {how} saw {len(seen)} of {len(names)} events, or in another order")
