"""A view has each event once, in order, whatever fails and however many runners there are."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import sessionmaker

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.blocking import blocking
from sdpatterns.core.notices import Notice, listen
from sdpatterns.core.runtime import finish
from sdpatterns.errors import BackendUnavailable, DeadlineExceeded, EventsTrimmed
from sdpatterns.messaging.eventstore import EventStore, StoredEvent
from sdpatterns.messaging.projection import Projection
from sdpatterns.messaging.projection.decision import LIVE
from sdpatterns.messaging.projection.notices import ProjectionAdvanced, StreamParked, VersionPublished
from sdpatterns.ports.log import ANY, LogPage, NewEvent
from sdpatterns.ports.states import Space
from tests.backends.everywhere import PATIENCE_S, ShiftedMemory, opened, opened_blocking
from tests.messaging.eventstore.shop_events import ORDERS, SCHEMA, Cipher, Paid, Place, Placed

pytestmark = pytest.mark.anyio


def store_on(backend: Any) -> EventStore:
    return EventStore("shop", backend=backend, schema=SCHEMA, cipher=Cipher(is_async=False))


class View:
    """Keeps what it was given, and fails where it is told to."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []
        self.fails: Callable[[StoredEvent], bool] = lambda _: False

    def apply(self, stored: StoredEvent) -> None:
        if self.fails(stored):
            raise ArithmeticError(f"{stored.stream} {stored.version}")
        self.seen.append((stored.stream, stored.version))

    def of(self, stream: str) -> list[int]:
        return [version for name, version in self.seen if name == stream]


class Stage:
    """A store and a view in memory, whose clock can be moved."""

    def __init__(self) -> None:
        self.backend = ShiftedMemory()
        self.store, self.view = store_on(self.backend), View()

    def projection(self, **settings: Any) -> Projection:
        return Projection("list", self.store, self.view.apply, backend=self.backend, **settings)

    async def append(self, stream: str, count: int = 1) -> int:
        return (await self.store.append(stream, ANY, [Paid(1)] * count)).position


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_events_are_applied_once_in_order_and_a_later_run_goes_on(stage: Stage) -> None:
    for number in range(7):
        await stage.append(f"s-{number % 3}", 2)
    projection = stage.projection(batch=4)
    assert await projection.run_due() == 14
    assert await projection.run_due() == 0
    assert [stage.view.of(f"s-{number}") for number in range(3)] == [[1, 2, 3, 4, 5, 6], [1, 2, 3, 4], [1, 2, 3, 4]]
    await stage.append("s-0")
    assert await projection.lag() == (14, 15)
    assert (await projection.lag()).positions == 1
    other = stage.projection()
    # The first runner still holds it.
    assert await other.run_due() == 0
    stage.backend.shift(31)
    assert await other.run_due() == 1
    assert stage.view.of("s-0") == [1, 2, 3, 4, 5, 6, 7]
    assert await other.position() == 15


async def test_it_runs_beside_the_block_and_a_reader_sees_its_own_write(stage: Stage) -> None:
    projection, notices = stage.projection(poll_s=3600), list[Notice]()
    with listen(notices.append):
        async with projection, stage.projection(poll_s=3600):
            decided = await stage.store.run(ORDERS, "1", Place(5))
            await projection.caught_up(decided.position, PATIENCE_S)
            assert stage.view.of("order/1") == [1]
    assert [(it.events, it.lag) for it in notices if isinstance(it, ProjectionAdvanced)] == [(1, 0)]
    with pytest.raises(DeadlineExceeded):
        await projection.caught_up(decided.position + 1, 0)
    # It was released at the end of the block, so that another one need not wait for the lease.
    await stage.append("order/1")
    assert await stage.projection().run_due() == 1


async def test_those_that_wait_are_woken_when_it_has_moved(stage: Stage) -> None:
    projection = stage.projection()
    await stage.append("a")
    async with stage.backend.signals.subscribe(projection._partitions[0].topic) as subscription:
        await projection.run_due()
        assert await subscription.wait(1)


async def test_an_event_that_fails_holds_up_its_stream_alone_and_is_tried_again(stage: Stage) -> None:
    stage.view.fails = lambda it: it.stream == "bad" and it.version == 2
    for _ in range(2):
        for stream in ("good", "bad", "fine"):
            await stage.append(stream, 2)
    projection, notices = stage.projection(attempts_max=3, retry_s=10), list[Notice]()
    with listen(notices.append):
        await projection.run_due()
        assert (stage.view.of("good"), stage.view.of("fine"), stage.view.of("bad")) == ([1, 2, 3, 4], [1, 2, 3, 4], [1])
        await stage.append("bad")
        assert await projection.run_due() == 0
        for wait_s in (10, 20, 1_000):
            stage.backend.shift(wait_s)
            await projection.run_due()
    assert [it.attempts for it in notices if isinstance(it, StreamParked)] == [1, 2, 3]
    [(stream, parked)] = (await projection.parked()).items()
    assert (stream, parked[:3], parked.reason) == ("bad", (2, 3, None), "ArithmeticError: bad 2")
    assert stage.view.of("bad") == [1]
    stage.view.fails = lambda _: False
    assert await projection.retry("bad")
    assert await projection.run_due() == 4
    assert stage.view.of("bad") == [1, 2, 3, 4, 5]
    assert await projection.parked() == {}
    assert not await projection.retry("bad")


async def test_an_event_can_be_left_out_by_hand(stage: Stage) -> None:
    stage.view.fails = lambda it: it.version in {2, 4}
    await stage.append("bad", 5)
    projection = stage.projection(attempts_max=1)
    await projection.run_due()
    assert await projection.retry("bad", leave_out=True)
    await projection.run_due()
    assert await projection.retry("bad", leave_out=True)
    await projection.run_due()
    assert stage.view.of("bad") == [1, 3, 5]


async def test_events_of_a_parked_stream_that_were_trimmed_leave_it_parked(stage: Stage) -> None:
    stage.view.fails = lambda _: True
    await stage.append("bad", 2)
    projection = stage.projection(attempts_max=1)
    await projection.run_due()
    await stage.store.archive("bad", 2)
    await projection.retry("bad")
    assert await projection.run_due() == 0
    assert "keeps no version" in (await projection.parked())["bad"].reason


async def test_where_a_hundred_streams_are_parked_it_waits(stage: Stage) -> None:
    stage.view.fails = lambda _: True
    for number in range(101):
        await stage.append(f"s-{number}")
    projection = stage.projection(attempts_max=1)
    await projection.run_due()
    assert len(await projection.parked()) == 100
    assert await projection.position() == 100


async def test_an_event_of_a_newer_release_waits_for_that_release(stage: Stage) -> None:
    await stage.append("a")
    newer = NewEvent(id="n", type="paid", data=b"1:{}", metadata={"schema-version": "9"})
    await stage.store.log.append("a", ANY, [newer])
    await stage.append("b")
    projection = stage.projection()
    await projection.run_due()
    assert (stage.view.seen, await projection.position(), await projection.parked()) == ([("a", 1)], 1, {})
    # It does not hold what it cannot do.
    other = stage.projection()
    assert (await other._partitions[0].hold()).is_mine


async def test_an_event_that_cannot_be_read_parks_its_stream(stage: Stage) -> None:
    await stage.store.log.append("a", ANY, [NewEvent(id="n", type="paid", data=b"1:{}")])
    await stage.append("b")
    projection = stage.projection()
    await projection.run_due()
    assert stage.view.seen == [("b", 1)]
    assert (await projection.parked())["a"].reason.startswith("CodecError: event 'n'")


async def test_hazard_23_a_projection_gets_events_of_the_newest_version(stage: Stage) -> None:
    old = NewEvent(id="o", type="Placed", data=b'1:{"order":"1","euros":3}', metadata={"schema-version": "1"})
    await stage.store.log.append("order/1", 0, [old])
    seen: list[Any] = []
    await Projection("list", stage.store, lambda it: seen.append(it.event), backend=stage.backend).run_due()
    assert seen == [Placed("1", 300)]


async def test_readers_are_told_of_a_new_version_once_it_has_caught_up(stage: Stage) -> None:
    await stage.append("a", 3)
    one, two, notices = stage.projection(), stage.projection(version=2, batch=1, attempts_max=1), list[Notice]()
    assert await one.live_version() == 0
    with listen(notices.append):
        await one.run_due()
        assert await one.live_version() == 1
        stage.view.fails = lambda it: it.version == 3
        for _ in range(2):
            # Resumed where it was; while a stream of it is parked it is not complete.
            await two.run_due()
            assert await one.live_version() == 1
        stage.view.fails = lambda _: False
        await two.retry("a")
        await two.run_due()
        await stage.projection(version=1).run_due()
    assert await one.live_version() == 2
    assert [it.version for it in notices if isinstance(it, VersionPublished)] == [1, 2]
    assert stage.view.of("a") == [1, 2, 3, 1, 2, 3]


async def test_a_version_that_waits_before_a_gap_of_the_log_has_not_caught_up(stage: Stage) -> None:
    read_all = stage.store.log.read_all

    async def before_a_gap(after: int, limit: int) -> LogPage:
        return LogPage((), after, after + 1)

    stage.store.log.read_all = before_a_gap  # type: ignore[method-assign, assignment]
    projection = stage.projection()
    await projection.run_due()
    assert await projection.live_version() == 0
    stage.store.log.read_all = read_all  # type: ignore[method-assign]
    await projection.run_due()
    assert await projection.live_version() == 1


async def test_a_version_is_published_though_the_store_is_away_when_it_has_caught_up(stage: Stage) -> None:
    projection = stage.projection()
    transact, calls = projection._live.transact, list[Any]()

    async def sometimes(*words: Any) -> Any:
        calls.append(words)
        if len(calls) == 1:
            raise BackendUnavailable("away")
        return await transact(*words)

    projection._live.transact = sometimes  # type: ignore[method-assign]
    await stage.append("a")
    with pytest.raises(BackendUnavailable):
        await projection.run_due()
    await projection.run_due()
    assert await projection.live_version() == 1


async def test_partitions_apply_streams_side_by_side_and_each_stream_in_order(stage: Stage) -> None:
    at_work: set[str] = set()
    most = 0

    async def slow(stored: StoredEvent) -> None:
        nonlocal most
        assert stored.stream not in at_work
        at_work.add(stored.stream)
        most = max(most, len(at_work))
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        at_work.remove(stored.stream)
        stage.view.apply(stored)

    streams = [f"order/{number}" for number in range(12)]
    for _ in range(3):
        for stream in streams:
            last = await stage.append(stream)
    projection = Projection("list", stage.store, slow, backend=stage.backend, partitions=4, batch=5)
    assert (await projection.position(), projection.last_lag()) == (0, None)
    async with projection:
        await projection.caught_up(last, PATIENCE_S)
        with anyio.fail_after(PATIENCE_S):
            while await projection.live_version() != 1:  # noqa: ASYNC110 - it has no event
                await anyio.sleep(0.01)
        assert projection.last_lag() == (last, last)
    assert projection.last_lag() is None
    assert most == 4
    assert {stream: stage.view.of(stream) for stream in streams} == {stream: [1, 2, 3] for stream in streams}


async def test_a_parked_stream_stops_no_other_partition_and_keeps_the_version_back(stage: Stage) -> None:
    stage.view.fails = lambda it: it.stream == "bad" and it.version == 2
    for stream in ("bad", "good", "fine", "other"):
        await stage.append(stream, 3)
    projection = stage.projection(partitions=4, attempts_max=1)
    await projection.run_due()
    assert list(await projection.parked()) == ["bad"]
    assert (len(stage.view.seen), await projection.live_version()) == (10, 0)
    assert await projection.retry("bad", leave_out=True)
    await projection.run_due()
    assert (stage.view.of("bad"), await projection.parked(), await projection.live_version()) == ([1, 3], {}, 1)


async def test_a_version_keeps_the_number_of_its_partitions(stage: Stage) -> None:
    await stage.append("a")
    await stage.projection().run_due()
    await stage.projection(version=2, partitions=2).run_due()
    for version, partitions in ((1, 2), (2, 1), (2, 3)):
        with pytest.raises(ValueError, match="give it the next version"):
            await stage.projection(version=version, partitions=partitions).run()
    # One that an earlier release began has said nothing.
    await stage.backend.states.cells(Space("projections/partitions", LIVE)).delete("list/1")
    with pytest.raises(ValueError, match="begun with 1 partitions, not 2"):
        await stage.projection(partitions=2).run_due()
    assert stage.view.of("a") == [1, 1]


async def test_while_the_store_is_away_it_waits(stage: Stage) -> None:
    log, is_away = stage.store.log, [True] * 3
    read_all = log.read_all

    async def sometimes(*words: Any) -> Any:
        if is_away:
            is_away.pop()
            raise BackendUnavailable("away")
        return await read_all(*words)

    log.read_all = sometimes  # type: ignore[method-assign]
    async with stage.projection(poll_s=0.1) as projection:
        await projection.caught_up(await stage.append("a"), PATIENCE_S)
    assert stage.view.seen == [("a", 1)]


async def test_what_the_log_no_longer_has_ends_the_service(stage: Stage) -> None:
    await stage.append("a", 3)
    await stage.store.trim(3)
    with pytest.raises(EventsTrimmed):
        await stage.projection().run()


async def test_a_runner_that_lost_its_lease_between_two_events_stops(stage: Stage) -> None:
    await stage.append("a", 3)
    second = stage.projection()

    async def late(stored: StoredEvent) -> None:
        stage.view.apply(stored)
        if stored.version == 1 and not stage.backend.shift_us:
            stage.backend.shift(31)
            first._partitions[0]._held_s = float("-inf")
            await second._partitions[0].hold()

    first = Projection("list", stage.store, late, backend=stage.backend)
    assert await first.run_due() == 0
    assert stage.view.of("a") == [1]
    assert await second.run_due() == 3


async def test_a_runner_whose_lease_was_taken_over_frees_no_stream_that_another_one_tries_again(stage: Stage) -> None:
    stage.view.fails = lambda _: True
    await stage.append("bad")
    first, second = stage.projection(attempts_max=1), stage.projection()
    await first.run_due()
    held = await first._partitions[0].hold()
    stage.backend.shift(31)
    assert (await second._partitions[0].hold()).is_mine
    # The position is the same for both.
    assert not await first._partitions[0].commit(held, [], held.state.position, {"bad": None})
    assert list(await second.parked()) == ["bad"]


@dataclasses.dataclass
class Database:
    """A view in SQLite, beside the position of its projection."""

    backend: SQLBackend
    sessions: async_sessionmaker[AsyncSession]
    store: EventStore

    def projection(self, apply: Any, **settings: Any) -> Projection:
        return Projection("list", self.store, apply, backend=self.backend, transactions=self.sessions.begin, **settings)

    async def rows(self) -> list[int]:
        async with self.sessions() as session:
            return list((await session.execute(sa.text("select position from seen order by rowid"))).scalars())


INSERT = sa.text("insert into seen (position) values (:position)")


async def insert(stored: StoredEvent, session: AsyncSession) -> None:
    await session.execute(INSERT, {"position": stored.position})


@pytest.fixture
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with opened(request, "sqlite", tmp_path) as backend:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'keys.db'}")
        async with engine.begin() as connection:
            await connection.execute(sa.text("create table seen (position integer)"))
        yield Database(backend, async_sessionmaker(engine), store_on(backend))
        await engine.dispose()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_in_a_transaction_several_runners_and_failures_neither_lose_nor_double_an_effect(
    database: Database,
) -> None:
    failures = iter(range(40))

    async def shaky(stored: StoredEvent, session: AsyncSession) -> None:
        await insert(stored, session)
        # After its effect, which the rollback takes back.
        if stored.position % 5 == 0 and next(failures, 99) < 3:
            raise ArithmeticError(stored.position)

    for number in range(30):
        await database.store.append(f"s-{number % 4}", ANY, [Paid(1)])
    settings: dict[str, Any] = {"batch": 4, "retry_s": 0.01, "poll_s": 0.02, "lease_s": 1.0}
    async with contextlib.AsyncExitStack() as stack:
        runners = [await stack.enter_async_context(database.projection(shaky, **settings)) for _ in range(3)]
        await runners[0].caught_up(30, PATIENCE_S)
        with anyio.fail_after(PATIENCE_S):
            while await runners[0].parked():  # noqa: ASYNC110 - it has no event
                await anyio.sleep(0.01)
    assert sorted(await database.rows()) == list(range(1, 31))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_runner_whose_lease_was_taken_over_changes_nothing_in_its_transaction(database: Database) -> None:
    await database.store.append("a", 0, [Paid(1)] * 3)
    first, second = database.projection(insert), database.projection(insert)
    held = await first._partitions[0].hold()
    page = await database.store.log.read_all(0)
    # As if the lease of the first were over.
    second._partitions[0]._settings = first._partitions[0]._settings
    assert await second.run_due() == 3
    assert not await first._partitions[0].commit(held, page.events, page.position)
    assert await database.rows() == [1, 2, 3]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_what_a_page_has_before_the_event_that_fails_is_kept(database: Database) -> None:
    async def but_third(stored: StoredEvent, session: AsyncSession) -> None:
        await insert(stored, session)
        if stored.stream == "bad":
            raise ArithmeticError

    for stream in ("a", "b", "bad", "c"):
        await database.store.append(stream, 0, [Paid(1)])
    projection = database.projection(but_third, attempts_max=1)
    await projection.run_due()
    assert await database.rows() == [1, 2, 4]
    assert list(await projection.parked()) == ["bad"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_event_that_fails_while_those_before_a_failure_are_applied_again_is_parked(database: Database) -> None:
    """Found by the simulated world of projections, seed 27: the runner ended with the failure."""
    tries: list[str] = []

    async def shaky(stored: StoredEvent, session: AsyncSession) -> None:
        tries.append(stored.stream)
        if stored.stream == "bad" or (stored.stream == "moody" and tries.count("moody") == 2):
            raise ArithmeticError
        await insert(stored, session)

    for stream in ("a", "moody", "bad", "c"):
        await database.store.append(stream, 0, [Paid(1)])
    projection = database.projection(shaky, attempts_max=1)
    await projection.run_due()
    assert await database.rows() == [1, 4]
    assert list(await projection.parked()) == ["moody", "bad"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_transaction_that_fails_at_its_commit_is_made_again(database: Database) -> None:
    await database.store.append("a", 0, [Paid(1)] * 3)
    broken = [True, True]

    @contextlib.asynccontextmanager
    async def transactions() -> AsyncIterator[AsyncSession]:
        async with database.sessions.begin() as session:
            yield session
            if broken:
                broken.pop()
                raise OSError("the connection is gone")

    projection = Projection(
        "list", database.store, insert, backend=database.backend, transactions=transactions, poll_s=0.05
    )
    async with projection:
        await projection.caught_up(3, PATIENCE_S)
    assert await database.rows() == [1, 2, 3]
    assert await projection.parked() == {}


def test_it_runs_without_a_loop_in_a_plain_transaction(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'keys.db'}")
    with engine.begin() as connection:
        connection.execute(sa.text("create table seen (position integer)"))
    store = store_on(MemoryBackend())
    finish(store.append("a", 0, [Paid(1)] * 2))
    with opened_blocking(request, "sqlite", tmp_path) as backend:
        projection = Projection(
            "list", store, lambda it, session: session.execute(INSERT, {"position": it.position}),
            backend=backend, transactions=sessionmaker(engine).begin,
        )  # fmt: skip
        assert finish(projection.run_due()) == 2
        with blocking(projection):
            finish(store.append("a", 2, [Paid(1)]))
            blocking(projection).caught_up(3, PATIENCE_S)
    with engine.begin() as connection:
        assert list(connection.execute(sa.text("select position from seen")).scalars()) == [1, 2, 3]
    engine.dispose()


def test_transactions_need_a_backend_that_has_them(stage: Stage) -> None:
    with pytest.raises(TypeError, match="ShiftedMemory has none"):
        stage.projection(transactions=functools.partial(contextlib.nullcontext, None))
