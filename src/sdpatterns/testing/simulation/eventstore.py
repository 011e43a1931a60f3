"""Nodes that run commands on aggregates, some in slow transactions, while a new release changes events and snapshots.

Promises: the versions of a stream have no gaps, and a command is stored whole, once or not at all, at the version that
its caller was told; it has decided on all events before its own, so that no account is overdrawn; every state that was
given, from a snapshot or not, is the fold of the events up to its version, whichever release wrote them; what a
transaction appends is there with its rows or not at all; each reader gets all events once, in the order of the log.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sdpatterns.errors import BackendError, UnknownVersion, VersionConflict
from sdpatterns.messaging.eventstore import Aggregate, EventStore, StoredEvent
from sdpatterns.messaging.schema import EventSchema, EventType
from sdpatterns.messaging.schema.schema import DATA
from sdpatterns.ports.log import RecordedEvent
from sdpatterns.testing.simulation.cluster import TROUBLES, Cluster, Node
from sdpatterns.testing.simulation.world import Run

__all__ = ["EventStoreWorld"]

_ACCOUNTS = ("a1", "a2")
_PEACE_S = 30.0
_STEPS = 6


class EventStoreWorld:
    """See the module."""

    name = "eventstore"
    sometimes = (
        *TROUBLES,
        "decided", "refused", "conflict", "in_doubt", "committed_slowly", "rolled_back", "state", "read", "resumed",
        "upgraded", "too_new", "with_snapshots",
    )  # fmt: skip

    async def play(self, run: Run) -> None:
        """Some nodes and their accounts, trouble, then peace, then the judgement."""
        await _Accounts(run).live()


@dataclasses.dataclass(frozen=True)
class _PaidEuros:
    """The event of the first release."""

    name: str
    euros: int


@dataclasses.dataclass(frozen=True)
class _PaidCents:
    """The event of the second release."""

    name: str
    cents: int


@dataclasses.dataclass(frozen=True)
class _State:
    """The first release has euros in it, the second one cents."""

    amount: int = 0
    names: tuple[str, ...] = ()


class _Pay(NamedTuple):
    """Pay in some euros, or out where they are negative, with so many events."""

    name: str
    euros: int
    events: int


class _TooLittle(Exception):
    """The account has less."""


class _Release(NamedTuple):
    """What a release knows: its events, and its aggregate."""

    schema: EventSchema
    aggregate: Aggregate[Any, Any, Any]
    cents: int


def _release(number: int, snapshot_every: int | None) -> _Release:
    kind: Callable[[str, int], Any] = _PaidEuros if number == 1 else _PaidCents
    cents = 1 if number == 1 else 100

    def decide(state: _State, command: _Pay) -> Sequence[Any]:
        if state.amount + command.events * command.euros * cents < 0:
            raise _TooLittle(command.name)
        return [kind(f"{command.name}.{place}", command.euros * cents) for place in range(command.events)]

    def evolve(state: _State, event: Any) -> _State:
        return _State(state.amount + (event.euros if number == 1 else event.cents), (*state.names, event.name))

    paid = EventType("paid", _PaidEuros) if number == 1 else EventType(
        "paid", _PaidCents, version=2, upcasters={1: _in_cents}
    )  # fmt: skip
    account: Aggregate[Any, Any, Any] = Aggregate(
        name="account", initial=_State(), decide=decide, evolve=evolve,
        snapshot_every=snapshot_every, snapshot_version=number,
    )  # fmt: skip
    return _Release(EventSchema(paid), account, 100 // cents)


def _in_cents(data: dict[str, Any]) -> dict[str, Any]:
    return {"name": data["name"], "cents": 100 * data["euros"]}


class _Accounts:
    def __init__(self, run: Run) -> None:
        self.run = run
        chance = run.chance
        self.slow_s = chance.choice([0.3, 1.0, 3.0])
        trouble = run.trouble(pause_max_s=3 * self.slow_s)
        self.cluster = Cluster(run, nodes=chance.randint(2, 3), trouble=trouble)
        snapshot_every = chance.choice([None, 1, 3])
        if snapshot_every is not None:
            run.note("with_snapshots")
        self.releases = {number: _release(number, snapshot_every) for number in (1, 2)}
        self.release = 1
        self.is_open = True
        self.told: dict[str, int] = {}
        self.states: list[tuple[str, int, _State]] = []

    def store(self, backend: Any, release: _Release) -> EventStore:
        """The store, as a release sees it."""
        ids = getattr(backend, "ids", lambda: "judge")
        return EventStore("bank", backend=backend, schema=release.schema, ids=ids)

    async def live(self) -> None:
        """Everything."""
        self.cluster.start(self.program)
        # The last events are appended in the middle of the trouble, so that no later one makes up for a lost wake-up.
        asyncio.get_running_loop().call_later(_STEPS * self.slow_s, self.close)
        upgrade = asyncio.create_task(self.upgrade())
        await self.cluster.suffer(1.5 * _STEPS * self.slow_s)
        await upgrade
        # One that stood still then has it only now.
        await self.bring_out()
        await asyncio.sleep(10.0 + 3 * self.slow_s)
        await self.cluster.all_arrived()
        await asyncio.sleep(_PEACE_S)
        await self.cluster.stop()
        await self.judge()

    def close(self) -> None:
        """Let the customers end."""
        self.is_open = False

    async def upgrade(self) -> None:
        """Bring out the second release, node by node."""
        await asyncio.sleep(self.run.chance.random() * _STEPS * self.slow_s)
        self.release = 2
        await self.bring_out()

    async def bring_out(self) -> None:
        """Start each node again with the newest release."""
        for node in self.cluster.nodes:
            await node.stop()
            if node.state == "down":
                self.run.note("upgraded", node.name)
                node.start(self.program)
            await asyncio.sleep(self.run.chance.random() * self.slow_s)

    async def program(self, node: Node) -> None:
        """Two customers and two readers, for as long as the node lives."""
        release = self.releases[self.release]
        store = self.store(node, release)
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(self.customer(node, store, release))
            for follow in (self.subscribed, self.paged):
                group.create_task(self.reader(node, store, follow))

    async def customer(self, node: Node, store: EventStore, release: _Release) -> None:
        """Pays, in one way or another, or asks how much there is."""
        ways = (self.pay, self.pay, self.pay_slowly, self.ask)
        while self.is_open:
            await asyncio.sleep(2 * node.chance.random() * self.slow_s)
            account = node.chance.choice(_ACCOUNTS)
            try:
                await node.chance.choice(ways)(node, store, release, account)
            except _TooLittle:
                self.run.note("refused", account)
            except VersionConflict:
                self.run.note("conflict", account)
            except UnknownVersion:
                self.run.note("too_new", account)
            except BackendError:
                self.run.note("in_doubt", account)

    def command(self, node: Node) -> _Pay:
        """What a customer wants."""
        chance = node.chance
        return _Pay(node.ids(), chance.choice([5, 3, -2, -4]), chance.randint(1, 2))

    async def pay(self, node: Node, store: EventStore, release: _Release, account: str) -> None:
        """One command."""
        command = self.command(node)
        done = await store.run(release.aggregate, account, command)
        self.run.note("decided", account, done.version)
        first = done.version - command.events
        self.told.update({f"{command.name}.{place}": first + place + 1 for place in range(command.events)})
        self.gave(release, account, done.version, done.state)

    async def pay_slowly(self, node: Node, store: EventStore, release: _Release, account: str) -> None:
        """The same in a transaction of one's own, which stays open for a while, with a row beside it."""
        command = self.command(node)
        found = await store.state(release.aggregate, account)
        events = release.aggregate.decide(found.state, command)
        async with node.transaction() as within:
            await store.append(f"account/{account}", found.version, events, within=within)
            within.put(("paid", command.name), command.events)
            await asyncio.sleep(node.chance.random() * self.slow_s)
            if node.chance.random() < 0.2:
                self.run.note("rolled_back", account)
                raise _TooLittle(command.name)
        self.run.note("committed_slowly", account)

    async def ask(self, node: Node, store: EventStore, release: _Release, account: str) -> None:
        """How much there is."""
        found = await store.state(release.aggregate, account)
        self.run.note("state", account, found.version)
        self.gave(release, account, found.version, found.state)

    def gave(self, release: _Release, account: str, version: int, state: _State) -> None:
        """A state was given: it is judged when all events are known."""
        self.states.append((account, version, _State(state.amount * release.cents, state.names)))

    async def reader(self, node: Node, store: EventStore, follow: Any) -> None:
        """Reads on from the place that it has kept, whatever happens."""
        name = ("reader", node.name, follow.__name__)
        while True:
            try:
                position, seen = await node.transaction().get(name) or (0, ())
                if seen:
                    self.run.note("resumed", name, position)
                await follow(node, store, name, position)
            except UnknownVersion:
                self.run.note("too_new", name)
                await asyncio.sleep(self.slow_s)
            except BackendError:
                await asyncio.sleep(node.chance.random() * self.slow_s)

    async def subscribed(self, node: Node, store: EventStore, name: Any, position: int) -> None:
        """Event by event, as they come."""
        async with store.subscribe(position) as events:
            async for stored in events:
                await self.keep(node, name, [stored], stored.position)

    async def paged(self, node: Node, store: EventStore, name: Any, position: int) -> None:
        """Page by page, looking now and then."""
        while True:
            page = await store.read_all(position, 3)
            await self.keep(node, name, page.events, page.position)
            position = page.position
            if not page.is_more:
                await asyncio.sleep(2 * self.slow_s)

    async def keep(self, node: Node, name: Any, events: Sequence[StoredEvent], position: int) -> None:
        """What was read and the place behind it, in one transaction."""
        if not events:
            return
        async with node.transaction() as within:
            before, seen = await within.get(name) or (0, ())
            if before >= events[0].position:
                # What its earlier life sent has arrived after all.
                raise BackendError("another life of this node came first")
            cents = [it.event.euros * 100 if isinstance(it.event, _PaidEuros) else it.event.cents for it in events]
            new = zip([it.event.name for it in events], cents, strict=True)
            within.put(name, (position, (*seen, *new)))
        self.run.note("read", name, position)

    async def judge(self) -> None:
        """All of it, by the events as they are stored."""
        events = (await self.cluster.log("bank").read_all(0, 10_000)).events
        paid = [(it.stream, *_paid(it)) for it in events]
        names = [name for _, name, _ in paid]
        if len(set(names)) < len(names):
            self.run.violated("a command was stored twice")
        for account in _ACCOUNTS:
            stream = f"account/{account}"
            versions = [it.version for it in events if it.stream == stream]
            if versions != list(range(1, len(versions) + 1)):
                self.run.violated(f"{stream} has the versions {versions}")
            await self.judge_states(account, [(name, cents) for of, name, cents in paid if of == stream])
        for name, version in self.told.items():
            found = [it.version for it, (_, known, _) in zip(events, paid, strict=True) if known == name]
            if found != [version]:
                self.run.violated(f"{name} was told to be version {version}, and is there as {found}")
        self.judge_transactions(set(names))
        self.judge_readers([(name, cents) for _, name, cents in paid])

    async def judge_states(self, account: str, paid: list[tuple[str, int]]) -> None:
        """Never below zero, and each state that was given is a fold."""
        folds = [_State()]
        for name, cents in paid:
            folds.append(_State(folds[-1].amount + cents, (*folds[-1].names, name)))
        commands = {name.rpartition(".")[0]: fold for (name, _), fold in zip(paid, folds[1:], strict=True)}
        for name, fold in commands.items():
            if fold.amount < 0:
                self.run.violated(f"{account} was overdrawn by {name}: {fold.amount}")
        newest = self.releases[2]
        found = await self.store(self.cluster, newest).state(newest.aggregate, account)
        given = [it[1:] for it in self.states if it[0] == account]
        for version, state in [*given, (found.version, found.state)]:
            if version >= len(folds) or state != folds[version]:
                wanted = folds[version] if version < len(folds) else "not there"
                self.run.violated(f"{account} was given as {state} at version {version}, which is {wanted}")

    def judge_transactions(self, names: set[str]) -> None:
        """The row of a transaction, with its events; and no part of a command."""
        commands = {name.rpartition(".")[0] for name in names}
        for key, count in self.cluster.rows.items():
            if isinstance(key, tuple) and key[0] == "paid" and not {f"{key[1]}.{it}" for it in range(count)} <= names:
                self.run.violated(f"the row of {key[1]} is there without its events")
        for name in sorted(commands):
            if f"{name}.0" not in names:
                self.run.violated(f"of {name} only a part is there")

    def judge_readers(self, wanted: list[tuple[str, int]]) -> None:
        """All events, in the order of the log, as those of the newest release."""
        for node in self.cluster.nodes:
            for how in ("subscribed", "paged"):
                _, seen = self.cluster.rows.get(("reader", node.name, how), (0, ()))
                if list(seen) != wanted:
                    self.run.violated(f"{node.name} {how} saw {len(seen)} of {len(wanted)} events, or others")


def _paid(event: RecordedEvent) -> tuple[str, int]:
    """What is stored, without the library's schema."""
    data: Any = DATA.decode(event.data)
    return data["name"], data["cents"] if "cents" in data else 100 * data["euros"]
