"""Topics are announced after the write is durable: together, each once, on a connection of their own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.backends.sqlalchemy.cells.batch import CellTable, StepBatch
from sdpatterns.backends.sqlalchemy.engine.transactions import (
    AsyncpgTransaction,
    PsycopgTransaction,
    Transaction,
    ViewTransaction,
)
from sdpatterns.backends.sqlalchemy.postgres.asyncpg import LoopConnections
from sdpatterns.backends.sqlalchemy.postgres.notifiers import TaskNotifier, ThreadNotifier
from sdpatterns.backends.sqlalchemy.postgres.psycopg import ThreadConnections
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.context import with_deadline
from sdpatterns.core.runtime import finish
from sdpatterns.errors import BackendUnavailable, OutcomeUnknown
from sdpatterns.ports.engine.steps import Found, PendingStep, Snapshot
from sdpatterns.ports.states import Cells, Space
from sdpatterns.testing.contracts.steps import Add
from tests.backends.sqlalchemy.proxy import Proxy
from tests.backends.sqlalchemy.steps import Meddled, Numbers
from tests.forks import in_child, needs_fork
from tests.loops import on_virtual_asyncio

pytestmark = pytest.mark.anyio

_ENDLESS_S = 60.0


class Recorded:
    """See `Connections`: what is sent on it, and when. It may hold a unit back, or break."""

    shown = "postgresql://recorded"
    timeout_s = 5.0

    def __init__(self) -> None:
        self.sent: list[list[str]] = []
        self.at_s: list[float] = []
        self.errors: list[Exception] = []
        self.is_closed = False
        self.is_fresh = True
        self.begun = threading.Event()
        self.goes_on = threading.Event()
        self.goes_on.set()

    async def run(self, unit: Any, /) -> None:
        unit.fresh, self.is_fresh = self.is_fresh, False
        self.begun.set()
        assert self.goes_on.wait(_ENDLESS_S)
        if self.errors:
            self.is_fresh = True
            raise self.errors.pop(0)
        await unit.run(self, in_transaction=False)

    async def fetch(self, _: object, channel: str, topics: Sequence[str]) -> list[Any]:
        assert channel == "sdpatterns"
        self.sent.append(list(topics))
        return []

    async def execute(self, sql: str, /) -> None:
        assert sql == "SET synchronous_commit = off"


class InLoop(Recorded):
    """The same for tasks, with the loop's time of each statement."""

    takes_s = 0.0

    async def run(self, unit: Any, /) -> None:
        await asyncio.sleep(self.takes_s)
        await super().run(unit)

    async def fetch(self, _: object, channel: str, topics: Sequence[str]) -> list[Any]:
        self.at_s.append(asyncio.get_running_loop().time())
        return await super().fetch(_, channel, topics)

    async def close(self) -> None:
        self.is_closed = True


class InThreads(Recorded):
    """The same for threads."""

    def close(self) -> None:
        self.is_closed = True


def of_tasks() -> tuple[InLoop, TaskNotifier]:
    connections = InLoop()
    return connections, TaskNotifier(cast("LoopConnections", connections))


def of_threads() -> tuple[InThreads, ThreadNotifier]:
    connections = InThreads()
    return connections, ThreadNotifier(cast("ThreadConnections", connections))


@on_virtual_asyncio
async def test_topics_go_together_each_once_and_at_most_every_two_milliseconds() -> None:
    connections, notifier = of_tasks()
    for place in range(200):
        notifier.announce(["same", f"{place % 2}"])
        await asyncio.sleep(0.0001)
    await notifier.stop()
    assert {topic for sent in connections.sent for topic in sent} == {"=same", "=0", "=1"}
    assert all(len(sent) == len(set(sent)) for sent in connections.sent)
    gaps = [after - before for before, after in zip(connections.at_s, connections.at_s[1:], strict=False)]
    assert min(gaps) > 0.0019
    # 20 ms of announcements: one statement at once, and then one every two.
    assert 8 <= len(connections.sent) <= 12


@on_virtual_asyncio
async def test_what_cannot_be_sent_is_lost_and_the_next_ones_are_sent() -> None:
    connections, notifier = of_tasks()
    connections.errors = [ConnectionError("away")]
    notifier.announce(["lost"])
    await asyncio.sleep(0.01)
    notifier.announce(["found"])
    await notifier.stop()
    assert connections.sent == [["=found"]]


@on_virtual_asyncio
async def test_a_connection_that_broke_while_it_was_idle_loses_nothing() -> None:
    connections, notifier = of_tasks()
    await notifier.notify(["first"])
    connections.errors = [ConnectionError("it was idle for too long")]
    await notifier.notify(["second"])
    connections.errors = [ConnectionError("it was idle for too long"), ConnectionError("away")]
    with pytest.raises(BackendUnavailable, match=r"recorded .*\(away\)"):
        await notifier.notify(["third"])
    await notifier.stop()
    assert connections.sent == [["=first"], ["=second"]]


@on_virtual_asyncio
async def test_those_behind_a_notification_that_came_too_late_are_not_tried() -> None:
    connections, notifier = of_tasks()
    connections.errors = [TimeoutError("frozen"), TimeoutError("frozen")]
    first = asyncio.create_task(notifier.notify(["a"]))
    await asyncio.sleep(0)
    behind = [asyncio.create_task(notifier.notify([f"{place}"])) for place in range(3)]
    ends = await asyncio.gather(first, *behind, return_exceptions=True)
    assert [type(end) for end in ends] == [BackendUnavailable] * 4
    assert len({id(end) for end in ends}) == 4
    assert len(connections.errors) == 1
    await notifier.stop()


@on_virtual_asyncio
@pytest.mark.parametrize(
    ("takes_s", "sent"), [(0.0, [["=a"], ["=b", "=c"]]), (0.1, [["=a", "=b", "=c"]])], ids=["in a pause", "in flight"]
)
async def test_a_loop_that_ends_sends_what_is_left(takes_s: float, sent: list[list[str]]) -> None:
    connections, notifier = of_tasks()
    connections.takes_s = takes_s
    notifier.announce(["a"])
    await asyncio.sleep(0.001)
    notifier.announce(["b"])
    waiting = asyncio.create_task(notifier.notify(["c"]))
    await asyncio.sleep(0)
    assert notifier._task is not None
    notifier._task.cancel()
    with pytest.raises(BackendUnavailable, match="stopped"):
        await waiting
    await notifier.stop()
    assert connections.sent == sent
    assert connections.is_closed


@on_virtual_asyncio
async def test_stopping_does_not_wait_for_a_server_that_says_nothing() -> None:
    connections, notifier = of_tasks()
    connections.takes_s = 3600.0
    notifier.announce(["a"])
    began = asyncio.get_running_loop().time()
    await notifier.stop()
    assert asyncio.get_running_loop().time() - began < 1.1
    assert notifier._task is not None
    assert notifier._task.done()
    assert connections.is_closed


@on_virtual_asyncio
async def test_a_cancelled_caller_harms_nobody() -> None:
    connections, notifier = of_tasks()
    notifier.announce(["a"])
    await asyncio.sleep(0.001)
    waiting = [asyncio.create_task(notifier.notify([topic])) for topic in "bc"]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await waiting[1]
    await notifier.stop()
    assert connections.sent == [["=a"], ["=b", "=c"]]


def test_in_threads_an_announcement_does_not_wait_and_pending_topics_are_bounded() -> None:
    connections, notifier = of_threads()
    connections.goes_on.clear()
    notifier.announce(["first"])
    assert connections.begun.wait(_ENDLESS_S)
    for place in range(9000):
        notifier.announce([f"{place}"])
    assert connections.sent == []
    connections.goes_on.set()
    finish(notifier.notify(["asked for"]))
    finish(notifier.stop())
    assert connections.sent[0] == ["=first"]
    assert len(connections.sent) == 2
    assert len(connections.sent[1]) == 8193
    assert connections.sent[1][-1] == "=asked for"
    assert connections.is_closed


def test_in_threads_a_deadline_ends_the_wait() -> None:
    connections, notifier = of_threads()
    connections.goes_on.clear()
    with with_deadline(0.01), pytest.raises(BackendUnavailable, match="deadline"):
        finish(notifier.notify(["a"]))
    connections.goes_on.set()
    finish(notifier.stop())
    assert connections.sent == [["=a"]]


def test_without_a_free_thread_topics_wait_for_the_next_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    connections, notifier = of_threads()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", _no_thread)
        notifier.announce(["a"])
        with pytest.raises(BackendUnavailable, match="can't start new thread"):
            finish(notifier.notify(["b"]))
    finish(notifier.notify(["c"]))
    finish(notifier.stop())
    assert connections.sent == [["=a", "=b", "=c"]]


def _no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


class Lossy:
    """See `CellTable`: others write `b` first."""

    async def read(self, tx: object, places: Sequence[Any], /) -> Snapshot:
        return Snapshot({place: Found(1, b"1:0", 0) for place in places}, 1)

    async def write(self, tx: object, changes: Sequence[Any], topics: Sequence[str], /) -> set[Any]:
        return {change.key for change in changes if change.key == ("s", "b")}


@pytest.mark.parametrize(("in_transaction", "announced"), [(False, ["of a"]), (True, [])])
def test_what_was_not_written_is_not_announced(in_transaction: bool, announced: list[str]) -> None:
    steps = [PendingStep(Space("s", IntegersCodec()), (key,), Add(wake=(f"of {key}",))) for key in "ab"]
    for step in steps:
        step.names = [("s", key) for key in step.keys]
    batch = StepBatch(cast("CellTable", Lossy()), steps)
    finish(batch.run(cast("Transaction", None), in_transaction=in_transaction))
    assert list(batch.topics) == announced


@pytest.fixture
def notified(monkeypatch: pytest.MonkeyPatch) -> list[tuple[type, int]]:
    """Each NOTIFY while the test runs: on which kind of transaction, and with how many topics."""
    seen: list[tuple[type, int]] = []

    def noted(kind: type, method: Callable[..., Any]) -> Callable[..., Any]:
        async def noting(self: object, statement: Any, *rest: Any) -> Any:
            if "pg_notify" in statement.sql:
                seen.append((kind, len(rest[1])))
            return await method(self, statement, *rest)

        return noting

    for kind in (AsyncpgTransaction, PsycopgTransaction, ViewTransaction):
        monkeypatch.setattr(kind, "fetch", noted(kind, kind.fetch))
    return seen


@pytest.fixture
def hearing(postgres_url: str) -> Iterator[Callable[[str], bool]]:
    """Waits for a notification of the topic that it is given, as any other client of the server would."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("LISTEN sdpatterns")

        yield lambda topic: any(notice.payload == f"={topic}" for notice in connection.notifies(timeout=_ENDLESS_S))


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[SQLBackend, Cells[Numbers]]]:
    async with SQLBackend(url) as backend:
        await backend.create()
        yield backend, backend.states.cells(Space("notifier", IntegersCodec()))


async def test_the_topics_of_many_steps_are_one_statement(
    postgres_async_url: str, notified: list[tuple[type, int]], hearing: Callable[[str], bool]
) -> None:
    async with opened(postgres_async_url) as (_, cells):
        steps = [cells.transact(f"{place}", Add(wake=("same", f"{place % 4}"))) for place in range(64)]
        await asyncio.gather(*steps)
    # Steps of one turn, on 64 cells: they are one batch or two, and close sends at once what is left.
    assert sum(topics for _, topics in notified) <= 10
    assert await asyncio.to_thread(hearing, "same")


async def test_closing_sends_what_is_pending(postgres_async_url: str, hearing: Callable[[str], bool]) -> None:
    async with opened(postgres_async_url) as (_, cells):
        await cells.transact("a", Add(wake=("closed",)))
    assert await asyncio.to_thread(hearing, "closed")


def test_a_loop_that_ends_without_closing_sends_it_too(postgres_async_url: str, hearing: Callable[[str], bool]) -> None:
    backend = SQLBackend(postgres_async_url)
    asyncio.run(backend.create())

    async def program() -> None:
        await backend.states.cells(Space("notifier", IntegersCodec())).transact("a", Add(wake=("ended",)))

    asyncio.run(program())
    assert hearing("ended")


@needs_fork[0]
@needs_fork[1]
def test_a_forked_child_notifies(postgres_url: str, hearing: Callable[[str], bool]) -> None:
    with SQLBackend(postgres_url.replace("postgresql:", "postgresql+psycopg:")) as backend:
        finish(backend.create())
        cells = backend.states.cells(Space("notifier", IntegersCodec()))
        finish(cells.transact("a", Add(wake=("parent",))))
        assert hearing("parent")  # its thread and its connection are there when the fork comes

        def child() -> None:
            finish(cells.transact("a", Add(wake=("child",))))
            finish(backend.signals.notify("asked"))
            finish(backend.__aexit__(None, None, None))

        assert in_child(child) == 0
        assert hearing("child")
        finish(backend.signals.notify("parent again"))
        assert hearing("parent again")


async def test_a_step_in_doubt_is_announced_in_case_it_happened(
    postgres_async_url: str, proxy: Proxy, hearing: Callable[[str], bool]
) -> None:
    async with opened(postgres_async_url), SQLBackend(proxy.url("asyncpg")) as backend:
        cells = backend.states.cells(Space("notifier", IntegersCodec()))
        await cells.transact("doubt", Add())
        step = Meddled(lambda run: proxy.cut("after") if run == 1 else None, wake=("doubt",))
        with pytest.raises(OutcomeUnknown):
            await cells.transact("doubt", step)
        assert await asyncio.to_thread(hearing, "doubt")


async def test_a_lost_side_connection_fails_no_step_and_is_made_again(
    postgres_async_url: str, hearing: Callable[[str], bool]
) -> None:
    async with opened(postgres_async_url) as (backend, cells):
        await backend.signals.notify("open")
        with psycopg.connect(postgres_async_url.replace("+asyncpg", "")) as admin:
            ask = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_notify%'"
            assert admin.execute(ask).fetchall()
        await cells.transact("a", Add(wake=("again",)))
        assert await asyncio.to_thread(hearing, "again")


async def test_a_session_of_the_callers_does_not_notify_in_its_transaction(
    postgres_async_url: str, notified: list[tuple[type, int]], hearing: Callable[[str], bool]
) -> None:
    own = create_async_engine(postgres_async_url)
    async with opened(postgres_async_url) as (backend, _), AsyncSession(own) as session, session.begin():
        cells = backend.within(session).states.cells(Space("notifier", IntegersCodec()))
        await cells.transact("a", Add(wake=("session",)))
        assert notified == []
    assert await asyncio.to_thread(hearing, "session")
    await own.dispose()
    assert {kind for kind, _ in notified} == {AsyncpgTransaction}


def test_a_session_on_a_connection_notifies_when_that_commits(
    postgres_url: str, notified: list[tuple[type, int]], hearing: Callable[[str], bool]
) -> None:
    url = postgres_url.replace("postgresql:", "postgresql+psycopg:")
    own = create_engine(url)
    with SQLBackend(url) as backend, own.connect() as connection:
        finish(backend.create())
        with connection.begin(), Session(connection, join_transaction_mode="create_savepoint") as session:
            cells = backend.within(session).states.cells(Space("notifier", IntegersCodec()))
            finish(cells.transact("a", Add(wake=("joined",))))
            session.commit()
            assert notified[0] == (ViewTransaction, 1)
        assert hearing("joined")
    own.dispose()


def test_a_session_beside_a_backend_without_its_loop_notifies_in_its_transaction(
    postgres_url: str, notified: list[tuple[type, int]], hearing: Callable[[str], bool]
) -> None:
    backend = SQLBackend(postgres_url.replace("postgresql:", "postgresql+asyncpg:"))
    asyncio.run(backend.create())
    own = create_engine(postgres_url.replace("postgresql:", "postgresql+psycopg:"))
    with Session(own) as session:
        cells = backend.within(session).states.cells(Space("notifier", IntegersCodec()))
        finish(cells.transact("a", Add(wake=("no loop",))))
        session.commit()
    assert hearing("no loop")
    own.dispose()
    assert notified == [(ViewTransaction, 1)]
