"""A connection that dies around a write, on a real Postgres behind a wire that can be cut."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator

import pytest

from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.runtime import finish
from sdpatterns.errors import BackendUnavailable, OutcomeUnknown
from sdpatterns.ports.states import Cells, Space
from tests.backends.sqlalchemy.proxy import Cut, Proxy
from tests.backends.sqlalchemy.steps import Harmless, HarmlessMany, Meddled, MeddledMany, Numbers

pytestmark = pytest.mark.anyio

KEYS = ["a", "b"]


@pytest.fixture
async def warm(proxy: Proxy, request: pytest.FixtureRequest) -> AsyncIterator[Cells[Numbers]]:
    """Cells whose connection has prepared its statements, so that a step is two messages."""
    async with SQLBackend(proxy.url("asyncpg"), timeout_s=2.0) as backend:
        await backend.create()
        cells = backend.states.cells(Space(f"lost/{request.node.name}", IntegersCodec()))
        for _ in range(2):
            await cells.transact("a", Meddled(lambda _: None))
            await cells.transact_many(KEYS, MeddledMany(lambda _: None))
        yield cells


def cutting(proxy: Proxy, where: Cut, *, skip: int = 0) -> Meddled:
    return Meddled(lambda run: proxy.cut(where, skip=skip) if run == 1 else None)


@pytest.mark.parametrize(("where", "happened"), [("before", 0), ("after", 1)])
async def test_an_unsafe_step_whose_reply_is_lost_is_not_repeated(
    warm: Cells[Numbers], proxy: Proxy, where: Cut, happened: int
) -> None:
    before = (await warm.read("a") or (0,))[0]
    step = cutting(proxy, where)
    with pytest.raises(OutcomeUnknown, match="lost"):
        await warm.transact("a", step)
    assert proxy.cuts == 1
    assert step.runs == 1
    assert await warm.read("a") == (before + happened,)


@pytest.mark.parametrize(("where", "times"), [("before", 1), ("after", 2)])
async def test_a_harmless_step_whose_reply_is_lost_is_repeated(
    warm: Cells[Numbers], proxy: Proxy, where: Cut, times: int
) -> None:
    before = (await warm.read("a") or (0,))[0]
    step = Harmless(lambda run: proxy.cut(where) if run == 1 else None)
    answer = await warm.transact("a", step)
    assert proxy.cuts == 1
    assert step.runs == 2
    assert answer == before + times - 1
    assert await warm.read("a") == (before + times,)


# On several cells a step is: read, write, COMMIT. Only after COMMIT is sent may it have happened.
@pytest.mark.parametrize(("where", "happened"), [("before", 0), ("after", 1)])
async def test_a_lost_commit_of_several_cells_leaves_all_or_nothing(
    warm: Cells[Numbers], proxy: Proxy, where: Cut, happened: int
) -> None:
    before = await warm.read_many(KEYS)
    step = MeddledMany(lambda run: proxy.cut(where, skip=1) if run == 1 else None)
    with pytest.raises(OutcomeUnknown):
        await warm.transact_many(KEYS, step)
    assert (proxy.cuts, step.runs) == (1, 1)
    assert await warm.read_many(KEYS) == [(state[0] + happened,) for state in before if state]


@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_write_lost_before_its_commit_surely_did_not_happen_and_runs_again(
    warm: Cells[Numbers], proxy: Proxy, where: Cut
) -> None:
    before = await warm.read_many(KEYS)
    step = MeddledMany(lambda run: proxy.cut(where) if run == 1 else None)
    await warm.transact_many(KEYS, step)
    # More often where the server has not yet noticed that its client is gone, and holds the rows.
    assert proxy.cuts == 1
    assert step.runs >= 2
    assert await warm.read_many(KEYS) == [(state[0] + 1,) for state in before if state]


async def test_a_harmless_step_on_several_cells_survives_a_lost_commit(warm: Cells[Numbers], proxy: Proxy) -> None:
    step = HarmlessMany(lambda run: proxy.cut("before", skip=1) if run == 1 else None)
    before = await warm.read_many(KEYS)
    await warm.transact_many(KEYS, step)
    assert await warm.read_many(KEYS) == [(state[0] + 1,) for state in before if state]


@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_lost_read_is_read_again(warm: Cells[Numbers], proxy: Proxy, where: Cut) -> None:
    before = await warm.read("a")
    proxy.cut(where)
    assert await warm.read("a") == before
    proxy.cut(where)
    step = Meddled(lambda _: None)
    await warm.transact("a", step)
    assert proxy.cuts == 2
    assert step.runs == 1


async def test_each_caller_of_a_lost_batch_is_told_apart(warm: Cells[Numbers], proxy: Proxy) -> None:
    harmless = [Harmless(lambda _: None) for _ in range(5)]
    unsafe = [cutting(proxy, "after"), *(Meddled(lambda _: None) for _ in range(4))]
    work = [asyncio.ensure_future(warm.transact(f"{place}", step)) for place, step in enumerate([*harmless, *unsafe])]
    done = await asyncio.gather(*work, return_exceptions=True)
    assert [type(end) for end in done[:5]] == [int] * 5
    assert [type(end) for end in done[5:]] == [OutcomeUnknown] * 5
    assert len({id(end) for end in done[5:]}) == 5, "one exception object was raised by several callers"


async def test_a_server_that_says_nothing_is_given_up_after_the_time_limit(warm: Cells[Numbers], proxy: Proxy) -> None:
    proxy.freeze()
    with pytest.raises(BackendUnavailable):
        await warm.read("a")
    proxy.thaw()
    assert await warm.read("a") is not None


# The first messages of a connection are its start and the password; what comes after is set-up, in
# which SQLAlchemy 2.0 left a socket behind.
@pytest.mark.parametrize("messages", [1, 3, 4, 5, 6, 8])
async def test_a_server_that_falls_silent_while_a_connection_is_made_costs_no_socket(
    proxy: Proxy, messages: int
) -> None:
    sockets = [one for one in gc.get_objects() if issubclass(type(one), socket.socket) and one.fileno() > 0]
    async with SQLBackend(proxy.url("asyncpg"), timeout_s=0.3) as backend:
        proxy.freeze(after=messages)
        with pytest.raises(BackendUnavailable):
            await backend.states.cells(Space("silent", IntegersCodec())).read("a")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        now = [one for one in gc.get_objects() if issubclass(type(one), socket.socket) and one.fileno() > 0]
        ours = [one for one in now if one not in sockets and one not in proxy.sockets]
        assert ours == []
        proxy.thaw()


@pytest.mark.parametrize(("where", "happened"), [("before", 0), ("after", 1)])
def test_the_same_without_a_loop(proxy: Proxy, where: Cut, happened: int) -> None:
    with SQLBackend(proxy.url("psycopg")) as backend:
        finish(backend.create())
        cells = backend.states.cells(Space(f"lost/blocking/{where}", IntegersCodec()))
        for _ in range(8):  # psycopg prepares a statement when it sees it for the sixth time
            finish(cells.transact("a", Meddled(lambda _: None)))
        step = cutting(proxy, where)
        with pytest.raises(OutcomeUnknown):
            finish(cells.transact("a", step))
        assert proxy.cuts == 1
        assert finish(cells.read("a")) == (8 + happened,)
        finish(cells.transact("a", Harmless(lambda run: proxy.cut("before") if run == 1 else None)))
        assert finish(cells.read("a")) == (9 + happened,)
