"""Nodes that start trips and drive them as sagas, over outside services that keep books of their own.

Promises, judged by the books of the services: each step of a trip has its effect once, however often it is asked for;
a trip that has begun ends, and whole: all that belongs to it is booked, or all that was booked is taken back, the last
first, each with what its step had returned. What was paid is never taken back. After an acknowledged start a trip has
begun, after a refused one it has no effect, and after an accepted cancellation it is undone. A run that has ended is no
work any more, and its journal is to be dropped some time.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from sdpatterns.errors import BackendError, SagaNotStarted
from sdpatterns.messaging.saga import Journal, RunStatus, Saga, SagaHandle, SagaRun, Sagas, SagaWorker, current_step
from sdpatterns.testing.simulation.cluster import TROUBLES, Cluster, Node
from sdpatterns.testing.simulation.world import Run

__all__ = ["SagaWorld"]

_ATTEMPTS = 4
_KEEP_S = 14 * 86_400.0
_LEASES = 6
_NAME = "trips"
_PEACE_S = 1_800.0
_STAGES = {"flight": 1, "hotel": 2, "car": 2, "visa": 3, "pay": 4, "mail": 5}
"""The steps of a trip; those of one stage run side by side."""


class SagaWorld:
    """See the module."""

    name = "saga"
    sometimes = (
        *TROUBLES,
        "started", "in_doubt", "not_started", "booked", "asked_again", "taken_over", "busy", "declined", "taken_back",
        "signalled", "cancelled", "cancelled_too_late", "restarted", "parked", "completed", "undone", "closed",
    )  # fmt: skip

    async def play(self, run: Run) -> None:
        """Some nodes and their trips, trouble, then peace, then the judgement."""
        await _Agency(run).live()


class _Declined(Exception):
    """The service's answer is no."""


class _Entry(NamedTuple):
    """What a service did for one idempotency key. `number` is the booking's."""

    trip: str
    step: str
    number: int
    is_undo: bool = False


class _Services:
    """The services that a trip is booked with: they answer a key that they know as they did the first time."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.book: dict[str, _Entry] = {}
        self.declined: set[str] = set()
        self._asked: dict[str, str] = {}

    async def ask(self, key: str, trip: str, step: str, who: str, *, declines: bool) -> int:
        """Book it."""
        self._note(key, who)
        if key in self.declined or (declines and key not in self.book):
            self.declined.add(key)
            self.run.note("declined", key)
            raise _Declined(step)
        if key not in self.book:
            self.run.note("booked", key)
            self.book[key] = _Entry(trip, step, number=len(self.book))
        return self.book[key].number

    async def take_back(self, key: str, trip: str, step: str, who: str, number: int) -> None:
        """Take a booking back."""
        self._note(key, who)
        if key not in self.book:
            self.run.note("taken_back", key, number)
            self.book[key] = _Entry(trip, step, number, is_undo=True)

    def _note(self, key: str, who: str) -> None:
        before = self._asked.get(key)
        if before is not None:
            self.run.note("asked_again" if before == who else "taken_over", key)
        self._asked[key] = who


class _Agency:
    def __init__(self, run: Run) -> None:
        self.run = run
        chance = run.chance
        self.lease_s = chance.choice([1.0, 3.0, 8.0])
        trouble = run.trouble(pause_max_s=3 * self.lease_s)
        self.cluster = Cluster(run, nodes=chance.randint(2, 3), trouble=trouble)
        self.services = _Services(run)
        self.started: set[str] = set()
        self.refused: set[str] = set()
        self.cancelled: set[str] = set()
        self.office = Sagas(_NAME, backend=self.cluster, keep_s=_KEEP_S)

    async def live(self) -> None:
        """Everything."""
        self.cluster.start(self.program)
        deploy = asyncio.create_task(self.deploy())
        await self.cluster.suffer(_LEASES * self.lease_s)
        deploy.cancel()
        await self.all_ended()
        await self.cluster.all_arrived()
        await self.cluster.stop()
        await self.judge()

    async def deploy(self) -> None:
        """End the program of each node as a rolling deploy does, some time, and start it again."""
        for node in self.cluster.nodes:
            await asyncio.sleep(self.run.chance.random() * _LEASES * self.lease_s)
            await node.stop()
            if node.state == "down":
                self.run.note("restarted", node.name)
                node.start(self.program)

    async def all_ended(self) -> None:
        """Every trip has come to its end; an operator lets those that were parked go on."""
        await asyncio.sleep(10.0)
        left: list[str] = []
        for _ in range(int(_PEACE_S / self.lease_s)):
            left = [trip for trip, journal in (await self.journals()).items() if journal.ended is None]
            if not left and (await self.office.queue.depth())[:4] == (0, 0, 0, 0):
                return
            for letter in await self.office.queue.parked(100):
                self.run.note("parked", letter.id)
                await self.office.handle(letter.id).resume()
            await asyncio.sleep(self.lease_s)
        depth = await self.office.queue.depth()
        self.run.violated(f"after {_PEACE_S:g} s of peace {left} have not ended, and the queue has {depth}")

    async def journals(self) -> dict[str, Journal]:
        """The journals of all trips."""
        events = (await self.office.log.read_all(0, 10_000)).events
        return {stream: await self.office.handle(stream).journal() for stream in {it.stream: None for it in events}}

    async def program(self, node: Node) -> None:
        """A worker and some customers, for as long as the node lives."""
        sagas = Sagas(_NAME, backend=node, ids=node.ids, keep_s=_KEEP_S)

        @sagas.saga(give_up_on=(_Declined,), attempts_max=_ATTEMPTS, base_s=0.2, max_s=1.0)
        async def trip(run: SagaRun, declines: str, nap_s: float, asks: bool) -> list[int]:  # noqa: FBT001 - what the journal says
            """The saga."""
            return await self.trip(node, run, declines, nap_s, asks=asks)

        async with SagaWorker(sagas, lease_s=self.lease_s, poll_s=2.0, drain_s=self.lease_s):
            async with asyncio.TaskGroup() as customers:
                for _ in range(node.chance.randint(1, 3)):
                    customers.create_task(self.customer(node, trip))
            await asyncio.Event().wait()

    async def customer(self, node: Node, trip: Saga[Any, Any]) -> None:
        """Starts a trip, sends again what there is no answer for, and approves of it or cancels it."""
        chance, name = node.chance, node.ids()
        await asyncio.sleep(chance.random() * _LEASES / 2 * self.lease_s)
        declines = chance.choice(["", "", "flight", "hotel", "car", "pay"])
        nap_s, asks = chance.choice([0.0, 1.0]) * chance.random() * self.lease_s, chance.random() < 0.5
        start = partial(trip.options(id=name).start, declines, nap_s, asks)
        handle: SagaHandle[Any] | None = await self.insist(node, name, start)
        if handle is None:
            return
        self.started.add(name)
        self.run.note("started", name)
        await asyncio.sleep(chance.random() * 2 * self.lease_s)
        if chance.random() < 0.7:
            if await self.insist(node, name, partial(handle.signal, "approved", node.name)):
                self.run.note("signalled", name)
        elif (done := await self.insist(node, name, partial(handle.cancel, "too dear"))) is not None:
            self.run.note("cancelled" if done else "cancelled_too_late", name)
            self.cancelled |= {name} if done else set()

    async def insist(self, node: Node, trip: str, call: Callable[[], Any]) -> Any:
        """Make a call a few times, until there is an answer."""
        for _ in range(5):
            try:
                return await call()
            except SagaNotStarted:
                self.run.note("not_started", trip)
                self.refused.add(trip)
                return None
            except BackendError:
                self.run.note("in_doubt", trip)
                await asyncio.sleep(node.chance.random() * self.lease_s)
        return None

    async def trip(self, node: Node, run: SagaRun, declines: str, nap_s: float, *, asks: bool) -> list[int]:
        """The steps of one trip."""

        def step(name: str) -> Any:
            """One step with its undo."""
            return run.step(name, self.book, node, name, declines, undo=partial(self.take_back, node, name))

        numbers = [await step("flight")]
        numbers += await run.parallel(step("hotel"), step("car"))
        if nap_s:
            await run.sleep("a night", nap_s)
        if asks:
            await run.signal("approved", timeout_s=2 * self.lease_s)
            numbers.append(await step("visa"))
        numbers.append(await run.pivot("pay", self.book, node, "pay", declines))
        return [*numbers, await run.step("mail", self.book, node, "mail", "")]

    async def book(self, node: Node, step: str, declines: str) -> int:
        """Ask a service, which may be busy."""
        call = current_step()
        await self.worked(node)
        ask = partial(self.services.ask, call.idempotency_key, call.run_id, step, node.name, declines=step == declines)
        return await node.send(ask, repeats="harmless")

    async def take_back(self, node: Node, step: str, number: int) -> None:
        """The undo of a step."""
        call = current_step()
        await self.worked(node)
        undo = partial(self.services.take_back, call.idempotency_key, call.run_id, step, node.name, number)
        await node.send(undo, repeats="harmless")

    async def worked(self, node: Node) -> None:
        """Some time passes, and the service is busy now and then."""
        chance = node.chance
        await asyncio.sleep(chance.choice([0.0, 0.2, 1.2]) * chance.random() * self.lease_s)
        if self.cluster.is_troubled and chance.random() < 0.15:
            self.run.note("busy")
            raise ConnectionError("the service is busy")

    async def judge(self) -> None:
        """What became of each trip, by the books of the services, and by what the customers were told."""
        journals = await self.journals()
        entries: dict[str, list[_Entry]] = defaultdict(list)
        for entry in self.services.book.values():
            entries[entry.trip].append(entry)
        for trip, journal in journals.items():
            status = str(journal.status)
            self.run.note(status, trip)
            self.judge_trip(trip, status, journal, entries[trip])
        for trip in sorted((entries.keys() | self.started) - journals.keys()):
            self.run.violated(f"{trip} has no journal")
        kept = sum(journal.status in {RunStatus.COMPLETED, RunStatus.UNDONE} for journal in journals.values())
        if (depth := await self.office.retained.depth())[:4] != (0, kept, 0, 0):
            self.run.violated(f"{kept} journals are kept, and {depth} are to be dropped")
        for trip in sorted(self.refused):
            if entries[trip]:
                self.run.violated(f"the start of {trip} was refused, and it was run")

    def judge_trip(self, trip: str, status: str, journal: Journal, entries: list[_Entry]) -> None:
        """Whole, once, in order."""
        times = Counter((entry.step, entry.is_undo) for entry in entries)
        if twice := [what for what, count in times.items() if count > 1]:
            self.run.violated(f"{trip}: {twice} happened more than once")
        done = {entry.step: entry.number for entry in entries if not entry.is_undo}
        undone = {entry.step: entry.number for entry in entries if entry.is_undo}
        asks = journal.started is not None and journal.started.arguments["asks"]
        wanted = _STAGES.keys() - (set() if asks else {"visa"})
        if status == "completed" and (undone or done.keys() != wanted):
            self.run.violated(f"{trip} completed with {sorted(done)}, and took back {sorted(undone)}")
        if status == "undone" and done != undone:
            self.run.violated(f"{trip} was undone with {done}, and took back {undone}")
        if "pay" in done and undone:
            self.run.violated(f"{trip} was paid, and took back {sorted(undone)}")
        stages = [-_STAGES[entry.step] if entry.is_undo else _STAGES[entry.step] for entry in entries]
        if stages != [stage for stage in stages if stage > 0] + sorted(stage for stage in stages if stage < 0):
            self.run.violated(f"{trip} was not taken back in the reverse order: {stages}")
        if trip in self.started and status == "closed":
            self.run.violated(f"{trip} was started, and is closed")
        if trip in self.cancelled and status != "undone":
            self.run.violated(f"{trip} was cancelled, and is {status}")
