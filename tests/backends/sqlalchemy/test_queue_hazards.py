"""Queues in SQL where it is hard: several workers and transactions at once, processes, a fork, a killed server."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.core.context import with_deadline
from sdpatterns.core.runtime import finish
from sdpatterns.errors import BackendUnavailable, OutcomeUnknown
from sdpatterns.ports.queue import Claimed, Complete, Message, MessageQueue, Park
from sdpatterns.testing.servers import ServerProcess, postgres_process
from tests.backends.everywhere import PATIENCE_S, unique
from tests.forks import in_child, needs_fork
from tests.house.source import ROOT

T = TypeVar("T")

LEASE_S = 600.0


def message(name: str, **words: Any) -> Message:
    return Message(id=name, payload=name.encode(), **words)


def publish(queue: MessageQueue, *names: str, **words: Any) -> None:
    assert all(finish(queue.publish([message(name, **words) for name in names])))


def claim(queue: MessageQueue, n: int = 10, lease_s: float = LEASE_S) -> list[Claimed]:
    return list(finish(queue.claim(n, lease_s)).messages)


def complete(queue: MessageQueue, *claims: Claimed) -> list[bool]:
    return list(finish(queue.settle([Complete(claimed) for claimed in claims])))


def names(claims: list[Claimed]) -> list[str]:
    return [claimed.id for claimed in claims]


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[tuple[SQLBackend, Engine]]:
    url = postgres_url.replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(url, connect_args={"options": "-c lock_timeout=300ms"})
    with SQLBackend(url, timeout_s=PATIENCE_S) as backend:
        finish(backend.create())
        yield backend, engine
    engine.dispose()


def test_two_workers_at_once_get_one_message_of_a_key(postgres: tuple[SQLBackend, Engine]) -> None:
    backend, engine = postgres
    queue = backend.queue(unique("hazards"))
    publish(queue, "first", "second", key="k")
    with Session(engine) as one, Session(engine) as two:
        # Neither has committed: the second one cannot see that the first message is taken.
        got = [names(claim(backend.within(worker).queue(queue.name), 1)) for worker in (one, two)]
        one.commit()
        two.commit()
    assert got == [["first"], []]
    assert claim(queue) == []


def test_two_transactions_of_one_tenant_do_not_wait_for_each_other(postgres: tuple[SQLBackend, Engine]) -> None:
    backend, engine = postgres
    queue = backend.queue(unique("hazards"))
    with Session(engine) as one, Session(engine) as two:
        for session, name in ((one, "a"), (two, "b")):
            publish(backend.within(session).queue(queue.name), name, tenant="t")
        two.commit()
        assert names(claim(queue)) == ["b"]
        one.commit()
    assert names(claim(queue)) == ["a"]


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_transaction_that_commits_later_with_the_smaller_number_keeps_the_order(
    postgres: tuple[SQLBackend, Engine], isolation: Any
) -> None:
    """An old snapshot does not see the messages before its own, so that it cannot know that it is not the first."""
    backend, engine = postgres
    queue = backend.queue(unique("hazards"))
    with Session(engine.execution_options(isolation_level=isolation)) as old:
        old.execute(text("SELECT count(*) FROM sdp_messages"))
        publish(queue, "first", key="k")
        publish(backend.within(old).queue(queue.name), "second", key="k")
        taken = claim(queue)
        assert names(taken) == ["first"]
        old.commit()
    assert claim(queue) == []
    assert complete(queue, *taken) == [True]
    second = claim(queue)
    assert names(second) == ["second"]
    publish(queue, "third", key="k")
    assert complete(queue, *second) == [True]
    assert names(claim(queue)) == ["third"]


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ"])
def test_an_old_snapshot_that_still_sees_a_message_that_is_gone_strands_nothing(
    postgres: tuple[SQLBackend, Engine], isolation: Any
) -> None:
    backend, engine = postgres
    queue = backend.queue(unique("hazards"))
    publish(queue, "first", key="k")
    with Session(engine.execution_options(isolation_level=isolation)) as old:
        old.execute(text("SELECT count(*) FROM sdp_messages"))
        assert complete(queue, *claim(queue)) == [True]
        publish(backend.within(old).queue(queue.name), "second", key="k")
        old.commit()
    assert names(claim(queue)) == ["second"]


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_settling_within_a_transaction_hands_over_to_the_next_of_the_key(
    postgres: tuple[SQLBackend, Engine], isolation: Any
) -> None:
    backend, engine = postgres
    queue = backend.queue(unique("hazards"))
    publish(queue, "first", "second", "third", key="k")
    for settlement, after in ((Complete, "second"), (lambda claimed: Park(claimed, "bad"), "third")):
        [taken] = claim(queue)
        with Session(engine.execution_options(isolation_level=isolation)) as session:
            inside = backend.within(session).queue(queue.name)
            assert finish(inside.settle([settlement(taken)])) == [True]
            session.commit()
        # Where the transaction did not see what else is there, it has left that to the next worker.
        backend.shift(0.2)
        waiting = [claimed for _ in range(2) for claimed in claim(queue)]
        assert names(waiting) == [after]
        backend.shift(LEASE_S + 1)
    assert names(claim(queue)) == ["third"]
    assert [letter.id for letter in finish(queue.parked(10))] == ["second"]


def test_a_worker_that_finishes_late_changes_nothing(postgres: tuple[SQLBackend, Engine]) -> None:
    backend, _ = postgres
    queue = backend.queue(unique("hazards"))
    publish(queue, "first", "second", key="k")
    publish(queue, "free")
    late = claim(queue, 10, 30.0)
    backend.shift(31.0)
    again = claim(queue)
    assert sorted(names(again)) == sorted(names(late)) == ["first", "free"]
    assert complete(queue, *late) == [False, False]
    assert finish(queue.extend(late, LEASE_S)) == [False, False]
    assert claim(queue) == []
    assert complete(queue, *again) == [True, True]
    assert names(claim(queue)) == ["second"]


def test_publishers_of_one_key_wait_for_each_other_and_nobody_else_waits(postgres: tuple[SQLBackend, Engine]) -> None:
    backend, engine = postgres
    queue = backend.queue(unique("hazards"))
    publish(queue, "first", key="k")
    [first] = claim(queue)
    with Session(engine) as opened:
        publish(backend.within(opened).queue(queue.name), "second", key="k")
        with Session(engine) as other, pytest.raises(Exception, match="lock timeout"):
            finish(backend.within(other).queue(queue.name).publish([message("never", key="k")]))
        # In the meantime others go on, those who settle a message of the key among them.
        publish(queue, "free", "other", key=None)
        assert complete(queue, first) == [True]
        assert sorted(names(claim(queue))) == ["free", "other"]
        opened.commit()
    backend.shift(0.2)
    assert names(claim(queue) or claim(queue)) == ["second"]


def test_a_publisher_waits_for_an_open_transaction_of_its_key_until_its_deadline(
    postgres: tuple[SQLBackend, Engine],
) -> None:
    backend, engine = postgres
    queue = backend.queue(unique("hazards"))
    with Session(engine) as opened:
        publish(backend.within(opened).queue(queue.name), "first", key="k")
        with with_deadline(0.5), pytest.raises(BackendUnavailable, match=r"deadline has passed .* end it"):
            publish(queue, "second", key="k")
        opened.rollback()
    publish(queue, "second", key="k")
    assert names(claim(queue)) == ["second"]


def test_a_deleted_id_that_blocks_a_key_strands_nothing(postgres: tuple[SQLBackend, Engine]) -> None:
    """A message is not added because its id is there already; those behind it in the same call go on."""
    backend, _ = postgres
    queue = backend.queue(unique("hazards"))
    publish(queue, "a")
    assert finish(queue.publish([message("a", key="k"), message("b", key="k")])) == [False, True]
    assert sorted(names(claim(queue))) == ["a", "b"]


WORKER = """
import json, sys
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.core.runtime import finish
from sdpatterns.ports.queue import Complete, Message

place, url = int(sys.argv[1]), sys.argv[2]
done = []
with SQLBackend(url, timeout_s=60.0) as backend:
    queue = backend.queue("jobs")
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(40):
        name = f"{place}-{number:02}"
        finish(queue.publish([Message(id=name, payload=b"", key=f"k{place % 2}"), Message(id=f"{name}f", payload=b"")]))
        claims = finish(queue.claim(3, 600.0)).messages
        assert all(finish(queue.settle([Complete(claimed) for claimed in claims])))
        done += [claimed.id for claimed in claims]
    while claims := finish(queue.claim(10, 600.0)).messages:
        assert all(finish(queue.settle([Complete(claimed) for claimed in claims])))
        done += [claimed.id for claimed in claims]
print(json.dumps(done))
"""


def run_workers(url: str, count: int) -> list[list[str]]:
    """What each of several processes did; all of them publish and work at once."""
    env = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": ""}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, f"{place}", url], env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for place in range(count)
    ]  # fmt: skip
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ended = [process.communicate(timeout=240) for process in started]
    assert [process.returncode for process in started] == [0] * count
    return [json.loads(said) for said, _ in ended]


@pytest.mark.nightly
@pytest.mark.usefixtures("children_unmeasured")
def test_several_processes_on_one_sqlite_file_do_everything_once(sqlite_path: Path) -> None:
    url = f"sqlite:///{sqlite_path}"
    with SQLBackend(url, durable=False) as backend:
        finish(backend.create())
        done = [name for each in run_workers(url, 3) for name in each]
        left = []
        backend.shift(1000.0)
        while claims := claim(backend.queue("jobs"), 100):
            left += names(claims)
            complete(backend.queue("jobs"), *claims)
    wanted = [f"{place}-{number:02}{free}" for place in range(3) for number in range(40) for free in ("", "f")]
    assert sorted(done + left) == sorted(wanted)
    assert left == []


@pytest.mark.usefixtures("children_unmeasured")
def test_several_processes_on_postgres_do_everything_once(postgres_url: str) -> None:
    url = postgres_url.replace("postgresql:", "postgresql+psycopg:")
    with SQLBackend(url) as backend:
        finish(backend.create())
        done = [name for each in run_workers(url, 3) for name in each]
        # The last worker of a key may have left it to the next one, which comes a moment later.
        backend.shift(1000.0)
        for _ in range(3):
            while claims := claim(backend.queue("jobs"), 100):
                done += names(claims)
                complete(backend.queue("jobs"), *claims)
            backend.shift(1.0)
    wanted = [f"{place}-{number:02}{free}" for place in range(3) for number in range(40) for free in ("", "f")]
    assert sorted(done) == sorted(wanted)


def test_workers_go_on_when_the_server_was_killed_and_started_again() -> None:
    with postgres_process() as (server, url):
        asyncio.run(_through_kills(server, url.replace("postgresql:", "postgresql+asyncpg:")))


async def until_it_is_up(work: Callable[[], Awaitable[T]]) -> T:
    """Again and again: each verb is safe to call again."""
    while True:
        try:
            return await work()
        except (BackendUnavailable, OutcomeUnknown):
            await asyncio.sleep(0.05)


async def publish_each(queue: MessageQueue, wanted: Iterable[str]) -> None:
    for name in wanted:
        await until_it_is_up(partial(queue.publish, [message(name, key=f"k{int(name) % 7}")]))
        await asyncio.sleep(0.005)


async def work_off(queue: MessageQueue, done: set[str], wanted: set[str]) -> None:
    while done != wanted:
        claims = await until_it_is_up(partial(queue.claim, 5, 1.0))
        done |= {claimed.id for claimed in claims.messages}
        await until_it_is_up(partial(queue.settle, [Complete(claimed) for claimed in claims.messages]))
        await asyncio.sleep(0.01)


async def _through_kills(server: ServerProcess, url: str) -> None:
    done: set[str] = set()
    wanted = {f"{place}" for place in range(60)}
    async with SQLBackend(url) as backend:
        await backend.create()
        queue = backend.queue("jobs")
        works = [publish_each(queue, sorted(wanted)), *[work_off(queue, done, wanted) for _ in range(3)]]
        working = asyncio.gather(*works)
        for _ in range(2):
            await asyncio.sleep(0.3)
            server.kill()
            server.start()
        await asyncio.wait_for(working, 120.0)
        # What was done before a kill may be done again; nothing is left for long.
        backend.shift(10.0)
        while claims := (await queue.claim(100, LEASE_S)).messages:
            assert {claimed.id for claimed in claims} <= wanted
            await queue.settle([Complete(claimed) for claimed in claims])
        assert sum((await queue.depth())[:4]) == 0


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
@pytest.mark.skipif(bool(needs_fork[0].args[0]), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_forked_child_works_on_the_same_queue(
    database: str, sqlite_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{sqlite_path}"
    if database == "postgres":
        url = request.getfixturevalue("postgres_url").replace("postgresql:", "postgresql+psycopg:")
    with SQLBackend(url) as backend:
        finish(backend.create())
        queue = backend.queue(unique("forks"))
        publish(queue, "a", "b", "c")
        [first] = claim(queue, 1)

        def works() -> None:
            [second] = claim(queue, 1)
            assert complete(queue, second, first) == [True, True]
            publish(queue, "d")

        assert in_child(works) == 0
        assert complete(queue, first) == [False]
        assert names(claim(queue)) == ["c", "d"]
