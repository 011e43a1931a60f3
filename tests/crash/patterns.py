"""One program for each pattern of the crash matrix: what its workers do, what they are given, and what is judged."""

from __future__ import annotations

import asyncio
import dataclasses
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, NamedTuple

import sqlalchemy as sa
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from sdpatterns import EventSchema, EventStore, EventType, Inbox, Jobs, Lease, Outbox, Projection, Relay
from sdpatterns.backends.sqlalchemy.fenced import FencedRows
from sdpatterns.errors import LeaseLost, LeaseNotGranted, StaleFence
from sdpatterns.messaging.cloudevents import CloudEvent
from sdpatterns.messaging.jobs import Worker, current_job
from sdpatterns.messaging.saga import RunStatus, SagaRun, Sagas, SagaWorker, current_step
from tests.crash.provider import Provider
from tests.crash.site import ACCOUNTS, AWAY, COUNTERS, EFFECTS, WORK_S, Death, Site

RETRY: Mapping[str, Any] = {"attempts_max": 1000, "base_s": 0.05, "max_s": 0.5}
"""Each failure of a database that is being restarted counts as an attempt."""


class Verdict(NamedTuple):
    """What became of all that was to be done."""

    items: int
    lost: int
    double: int
    again: int
    """How often something was done once more, or too late, and had no effect."""


class Program(ABC):
    """One pattern at work."""

    name: ClassVar[str]
    in_one_database: ClassVar[bool] = False
    """Whether it needs the transaction of an SQL database, so that on Valkey a part of it stands on SQLite."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.fed = 0

    async def create(self) -> None:  # noqa: B027 - most need nothing more
        """Make what it needs beside the tables."""

    @abstractmethod
    async def work(self) -> None:
        """What a worker process does, until it is killed."""

    async def feed(self, count: int) -> None:
        """Give the workers so many things to do, where they do not find them themselves."""
        numbers = range(self.fed, self.fed + count)
        self.fed += count
        await self.site.insist(partial(self.give, numbers))

    async def give(self, numbers: Sequence[int]) -> None:  # noqa: B027 - some find their work themselves
        """Hand over what `feed` gives; may be repeated."""

    @abstractmethod
    async def is_idle(self) -> bool:
        """Whether there is nothing more to come."""

    @abstractmethod
    async def judge(self, provider: Provider) -> Verdict:
        """What became of it all, once it is idle."""


class LeaseProgram(Program):
    """Each worker adds 1 to a row that knows the largest fence, reading and writing in two transactions."""

    name = "lease"

    async def create(self) -> None:
        async with self.site.engine.begin() as connection:
            await connection.execute(sa.insert(ACCOUNTS).values(name=self.site.name, balance=0, fence=0))

    async def work(self) -> None:
        site = self.site
        lease = Lease(site.name, store=site.backend.states, signals=site.backend.signals, **site.settings("lease_s"))
        while await site.provider.call("more"):
            try:
                async with lease.guard("account") as held:
                    balance = await self._added(held.fence)
                    # Before the release, so that the next holder is not taken for one that takes over.
                    await site.provider.call("done", "account", what=balance)
            except StaleFence:
                await site.provider.call("late", "account")
            except (LeaseLost, LeaseNotGranted, *AWAY):
                await asyncio.sleep(0.05)
        await asyncio.Event().wait()

    async def _added(self, fence: int) -> int:
        rows, mine = FencedRows(ACCOUNTS), ACCOUNTS.c.name == self.site.name
        await self.site.provider.call("began", "account")
        async with self.site.engine.begin() as connection:
            balance: int = (await rows.read(connection, fence, mine)).balance + 1
        await asyncio.sleep(WORK_S)
        async with self.site.engine.begin() as connection:
            await rows.write(connection, fence, mine, balance=balance)
            await connection.execute(sa.insert(EFFECTS).values(name=self.site.name, subject="account", number=balance))
        return balance

    async def is_idle(self) -> bool:
        return True

    async def judge(self, provider: Provider) -> Verdict:
        acknowledged = {each for each in provider.done if each is not None}
        written = (await self.site.numbers()).get("account", [])
        async with self.site.engine.connect() as connection:
            query = sa.select(ACCOUNTS.c.balance).where(ACCOUNTS.c.name == self.site.name)
            balance = (await connection.execute(query)).scalar_one()
        lost = len(acknowledged - set(written)) + max(0, len(written) - balance)
        return Verdict(len(written), lost, len(written) - len(set(written)), provider.refused)


class JobProgram(Program):
    """A job calls the provider, with the job's id as the idempotency key."""

    name = "job"

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.jobs = Jobs(site.name, backend=site.backend)
        self.charge = self.jobs.job(name="charge", **RETRY)(self.handle)

    async def handle(self, number: int) -> None:
        """The job."""
        key, provider = current_job().id, self.site.provider
        await provider.call("began", key)
        await asyncio.sleep(WORK_S)
        await provider.call("effect", key, number=number)
        await provider.call("done", key)

    async def work(self) -> None:
        worker = Worker(self.jobs, **self.site.settings("lease_s", "poll_s", "concurrency"))
        await worker.run()

    async def give(self, numbers: Sequence[int]) -> None:
        await self.jobs.publish([self.charge.options(id=f"job-{each}").message(each) for each in numbers])

    async def is_idle(self) -> bool:
        depth = await self.jobs.queue.depth()
        return depth.due + depth.waiting + depth.leased == 0

    async def judge(self, provider: Provider) -> Verdict:
        effects = Counter(each["number"] for each in provider.book.values())
        again = provider.asked.total() - len(provider.asked)
        return Verdict(self.fed, self.fed - len(effects), effects.total() - len(effects), again)


class InboxProgram(JobProgram):
    """A handler writes a row behind an inbox, in one transaction."""

    name = "inbox"
    in_one_database = True

    async def handle(self, number: int) -> None:
        """The same, with a row."""
        key, site = current_job().id, self.site
        await site.provider.call("began", key)
        await asyncio.sleep(WORK_S)
        async with AsyncSession(site.engine) as session, session.begin():
            is_new = await Inbox(site.name).is_new(key, within=site.book.within(session))
            if is_new:
                row = {"name": site.name, "subject": "all", "number": number}
                await session.execute(sa.insert(EFFECTS).values(row))
        # Between the effect and the settlement, where a fault lets the job run again.
        await asyncio.sleep(WORK_S)
        await site.provider.call("done" if is_new else "late", key)

    async def judge(self, provider: Provider) -> Verdict:
        written = (await self.site.numbers()).get("all", [])
        return Verdict(self.fed, self.fed - len(set(written)), len(written) - len(set(written)), provider.refused)


class OutboxProgram(Program):
    """Each worker numbers orders in a transaction with an event, and relays events to the provider."""

    name = "outbox"
    in_one_database = True
    subjects = ("a", "b", "c", "d")

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        # An outbox is a table of the business database. On Valkey the relay hands its events to a stream there.
        self.home: Any = site.book if site.is_redis else site.backend
        self.outbox = Outbox(site.name, backend=self.home)

    async def create(self) -> None:
        async with self.site.engine.begin() as connection:
            for subject in self.subjects:
                row = {"name": self.site.name, "subject": subject, "number": 0}
                await connection.execute(sa.insert(COUNTERS).values(row))

    async def work(self) -> None:
        target = self.site.backend.stream_target(self.site.name) if self.site.is_redis else None

        async def publish(event: CloudEvent) -> None:
            subject, number = event.subject, event.data
            await self.site.provider.call("began", f"{subject}")
            await asyncio.sleep(WORK_S)
            if target is not None:
                await target(event)
            await self.site.provider.call("effect", event.id, subject=subject, number=number)
            await self.site.provider.call("done", f"{subject}")

        async with Relay(self.outbox, publish, **self.site.settings("lease_s", "poll_s")):
            await self._produce()

    async def _produce(self) -> None:
        turn = 0
        while await self.site.provider.call("more"):
            with suppress(*AWAY):
                await self._place(self.subjects[turn % len(self.subjects)])
            turn += 1
            await asyncio.sleep(WORK_S)
        await asyncio.Event().wait()

    async def _place(self, subject: str) -> None:
        row = (COUNTERS.c.name == self.site.name) & (COUNTERS.c.subject == subject)
        async with AsyncSession(self.site.engine) as session, session.begin():
            counted = sa.update(COUNTERS).where(row).values(number=COUNTERS.c.number + 1)
            number = (await session.execute(counted.returning(COUNTERS.c.number))).scalar_one()
            view = (self.site.book if self.site.is_redis else self.site.backend).within(session)
            await self.outbox.publish(self.outbox.event("/orders", "placed", subject, number), within=view)

    async def is_idle(self) -> bool:
        depth = await self.outbox.queue.depth()
        return depth.due + depth.waiting + depth.leased == 0

    async def judge(self, provider: Provider) -> Verdict:
        placed = {subject: numbers[0] for subject, numbers in (await self.site.numbers(COUNTERS)).items()}
        told: dict[str, list[int]] = {subject: [] for subject in placed}
        for each in provider.book.values():
            told[each["subject"]].append(each["number"])
        # Each subject's events arrive in the order of the commits; one that is out of order is counted as lost.
        lost = sum(numbers != list(range(1, placed[subject] + 1)) for subject, numbers in told.items())
        double = sum(len(numbers) - len(set(numbers)) for numbers in told.values())
        again = provider.asked.total() - len(provider.asked)
        if self.site.is_redis:
            async with Redis.from_url(self.site.url) as client:
                entries = await client.xlen(self.site.name)
            double += max(0, entries - sum(placed.values()))
            lost += max(0, sum(placed.values()) - entries)
        return Verdict(sum(placed.values()), lost, double, again)


@dataclasses.dataclass(frozen=True)
class Counted:
    """An event."""

    number: int


class ProjectionProgram(Program):
    """Events of four streams become rows of a view."""

    name = "projection"
    in_one_database = True
    streams = 4

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.store = EventStore(site.name, backend=site.backend, schema=EventSchema(EventType("counted", Counted)))
        self.projection = Projection(
            site.name,
            self.store,
            self._apply,
            backend=site.book,
            transactions=async_sessionmaker(site.engine).begin,
            batch=4,
            **site.settings("lease_s", "poll_s"),
        )

    async def _apply(self, stored: Any, session: AsyncSession) -> None:
        await self.site.provider.call("began", "view")
        row = {"name": self.site.name, "subject": stored.stream, "number": stored.event.number}
        await session.execute(sa.insert(EFFECTS).values(row))
        await asyncio.sleep(WORK_S / 4)

    async def work(self) -> None:
        await self.projection.run()

    async def give(self, numbers: Sequence[int]) -> None:
        for each in numbers:
            version, stream = divmod(each, self.streams)
            events, ids = [Counted(version + 1)], [f"{self.site.name}-{each}"]
            await self.site.insist(partial(self.store.append, f"stream-{stream}", version, events, ids=ids))

    async def is_idle(self) -> bool:
        return (await self.projection.lag()).positions == 0 and not await self.projection.parked()

    async def judge(self, provider: Provider) -> Verdict:
        view = await self.site.numbers()
        right = {
            f"stream-{it}": list(range(1, 1 + len(range(it, self.fed, self.streams)))) for it in range(self.streams)
        }
        lost = sum(len(set(numbers) - set(view.get(stream, []))) for stream, numbers in right.items())
        double = sum(len(numbers) - len(set(numbers)) for numbers in view.values())
        out_of_order = sum(numbers != sorted(numbers) for numbers in view.values())
        return Verdict(self.fed, lost + out_of_order, double, provider.refused)


class Declined(Exception):
    """The shipper does not take the parcel."""


class SagaProgram(Program):
    """Orders are reserved, charged and shipped; the shipper declines each third one, and its run is undone."""

    name = "saga"

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.sagas = Sagas(site.name, backend=site.backend)

        @self.sagas.saga(name="order", give_up_on=(Declined,), **RETRY)
        async def order(run: SagaRun, number: int) -> None:
            await run.step("reserve", self._ask, run.id, "reserve", number, undo=self._undone("release", number))
            await run.step("charge", self._ask, run.id, "charge", number, undo=self._undone("refund", number))
            await run.step("ship", self._ask, run.id, "ship", number)

        self.order = order

    def _undone(self, what: str, number: int) -> Any:
        async def undo(run_id: str) -> None:
            await self._ask(run_id, what, number)

        return undo

    async def _ask(self, run_id: str, what: str, number: int) -> str:
        provider, key = self.site.provider, current_step().idempotency_key
        await provider.call("began", run_id)
        await asyncio.sleep(WORK_S / 2)
        if what != "ship" or number % 3:
            await provider.call("effect", key, what=what, number=number)
        await provider.call("done", run_id)
        if what == "ship" and not number % 3:
            raise Declined
        return run_id

    async def work(self) -> None:
        await SagaWorker(self.sagas, **self.site.settings("lease_s", "poll_s", "concurrency")).run()

    async def give(self, numbers: Sequence[int]) -> None:
        for each in numbers:
            await self.site.insist(partial(self.order.options(id=f"order-{each}").start, each))

    async def statuses(self) -> list[RunStatus]:
        """How each run is."""
        return [await self.sagas.handle(f"order-{each}").status() for each in range(self.fed)]

    async def is_idle(self) -> bool:
        ended = {RunStatus.COMPLETED, RunStatus.UNDONE, RunStatus.PARKED}
        return set(await self.statuses()) <= ended

    async def judge(self, provider: Provider) -> Verdict:
        asked = Counter((each["what"], each["number"]) for each in provider.book.values())
        lost = sum(status not in {RunStatus.COMPLETED, RunStatus.UNDONE} for status in await self.statuses())
        for number in range(self.fed):
            ends = ("ship",) if number % 3 else ("release", "refund")
            others = ("release", "refund") if number % 3 else ("ship",)
            lost += any(asked[what, number] == 0 for what in ("reserve", "charge", *ends))
            lost += any(asked[what, number] for what in others)
        again = provider.asked.total() - len(provider.asked)
        return Verdict(self.fed, lost, asked.total() - len(asked), again)


PROGRAMS: dict[str, type[Program]] = {
    each.name: each for each in (LeaseProgram, JobProgram, OutboxProgram, InboxProgram, ProjectionProgram, SagaProgram)
}


async def work(program: str, death: Sequence[Any] | None = None, **words: Any) -> None:
    """What a worker process does."""
    site = Site(**words, death=Death(*death) if death else None)
    await PROGRAMS[program](site).work()
