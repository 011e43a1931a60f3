"""A child that is forked in the middle of a step on a real store works, and so does the parent."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from sdpatterns.backends.nats import NatsBackend
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.runtime import finish
from sdpatterns.ports.states import Space
from tests.backends.sqlalchemy.steps import Meddled
from tests.forks import in_child, needs_fork
from tests.house.source import ROOT

pytestmark = needs_fork

Work = Coroutine[Any, Any, Any]


def run(work: Work, *, blocks: bool) -> Any:
    return finish(work) if blocks else asyncio.run(work)


def step(backend: Any, meddle: Callable[[int], object] = int) -> Work:
    return backend.states.cells(Space("forks", IntegersCodec())).transact("a", Meddled(meddle))  # type: ignore[no-any-return]


def backend_at(url: str, path: Path, kind: str) -> tuple[Any, bool]:
    store, _, door = kind.partition(" ")
    blocks = door == "blocking"
    if store == "redis":
        return RedisBackend(url, blocking=blocks), blocks
    if store == "postgres":
        driver = "psycopg" if blocks else "asyncpg"
        return SQLBackend(url.replace("postgresql", f"postgresql+{driver}")), blocks
    if store == "nats":
        return NatsBackend(url, prefix="forks"), blocks
    return SQLBackend(f"sqlite{'' if blocks else '+aiosqlite'}:///{path / 'forks.db'}"), blocks


KINDS = [f"{store} {door}" for store in ("redis", "postgres", "sqlite") for door in ("blocking", "asyncio")]
KINDS.append("nats asyncio")


@pytest.fixture(params=KINDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Any, bool]]:
    server = {"redis": "valkey_url", "postgres": "postgres_url", "nats": "nats_url"}.get(request.param.split()[0])
    url = request.getfixturevalue(server) if server else ""
    opened, blocks = backend_at(url, tmp_path, request.param)
    run(opened.create(), blocks=blocks)
    yield opened, blocks
    run(opened.__aexit__(None, None, None), blocks=blocks)


def test_a_child_forked_in_the_middle_of_a_step_makes_its_own(backend: tuple[Any, bool]) -> None:
    store, blocks = backend
    first = run(step(store), blocks=blocks)
    inside, forked = threading.Event(), threading.Event()

    def stays(_: int) -> None:
        inside.set()
        forked.wait(0.3)

    thread = threading.Thread(target=lambda: run(step(store, stays), blocks=blocks))
    thread.start()
    assert inside.wait(60.0)
    try:
        assert in_child(lambda: run(step(store), blocks=blocks)) == 0
    finally:
        forked.set()
        thread.join()
    assert run(step(store), blocks=blocks) == first + 3


FORGOTTEN = """
import asyncio, gc, os, sys
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core import forks
from sdpatterns.core.forks import prepare_for_fork
from sdpatterns.ports.states import Space


class Litters:
    def before_fork(self):
        [[] for _ in range(2_000)]  # enough for a collection

    def after_fork_in_parent(self):
        pass


async def use(url):
    backend = SQLBackend(url)
    await backend.create()
    await backend.states.cells(Space("forks", IntegersCodec())).read("a")
    return backend


backend = asyncio.run(use(sys.argv[1]))
litter = Litters()
prepare_for_fork(litter)
members = forks._members
forks._members = lambda registry: sorted(members(registry), key=lambda owner: owner is litter)  # after the file
gc.collect()
gc.disable()
forgotten = [backend]
forgotten.append(forgotten)  # only the collector finds it
del backend, forgotten
gc.enable()
child = os.fork()
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert gc.isenabled()
"""


def test_a_forgotten_backend_that_is_collected_during_a_fork_does_not_stop_it(tmp_path: Path) -> None:
    """Its finalizer waits for its thread, which waits for the file that the fork holds."""
    words = [sys.executable, "-W", "ignore", "-c", FORGOTTEN, f"sqlite+aiosqlite:///{tmp_path / 'forks.db'}"]
    around = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    assert subprocess.run(words, check=False, timeout=60, env=around).returncode == 0


def test_a_child_forked_by_the_step_itself_makes_its_own(tmp_path: Path) -> None:
    store, _ = backend_at("", tmp_path, "sqlite blocking")
    finish(store.create())
    ended: list[int] = []

    def reads() -> None:
        assert finish(store.states.cells(Space("forks", IntegersCodec())).read("a")) is None

    assert finish(step(store, lambda _: ended.append(in_child(reads)))) == 0
    assert finish(step(store)) == 1
    assert ended == [0]
    store.__exit__(None, None, None)


def test_a_child_of_a_child_waits_for_no_step_of_its_grandparent(tmp_path: Path) -> None:
    store = SQLBackend(f"sqlite:///{tmp_path / 'forks.db'}", timeout_s=600)
    finish(store.create())

    def forks_again() -> None:
        assert in_child(lambda: finish(step(store))) == 0

    assert in_child(forks_again) == 0
    assert finish(step(store)) == 1
    store.__exit__(None, None, None)


PROGRAM = """
import asyncio, os, signal, sys, threading
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.ports.states import Space
from tests.backends.sqlalchemy.steps import Meddled

backend = SQLBackend(sys.argv[1])
asyncio.run(backend.create())
inside = threading.Event()

def step(meddle=int):
    return backend.states.cells(Space("forks", IntegersCodec())).transact("a", Meddled(meddle))

def stays(_):
    inside.set()
    threading.Event().wait(0.5)

thread = threading.Thread(target=lambda: asyncio.run(step(stays)))
thread.start()
inside.wait(60)
child = os.fork()
if child == 0:
    signal.alarm(30)
    sys.exit(0)  # with all that Python does at an exit, finalizers included
thread.join()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_that_was_forked_in_the_middle_of_a_step_ends_in_the_ordinary_way(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'forks.db'}"
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    ended = subprocess.run([sys.executable, "-c", PROGRAM, url], env=env, check=False, timeout=120)
    assert ended.returncode == 0


@pytest.mark.nightly
def test_many_forks_beside_many_steps(tmp_path: Path) -> None:
    store, _ = backend_at("", tmp_path, "sqlite blocking")
    finish(store.create())
    stop = threading.Event()
    counts = [0, 0]

    def steps(place: int) -> None:
        while not stop.is_set():
            finish(step(store))
            counts[place] += 1

    threads = [threading.Thread(target=steps, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    ended = [in_child(lambda: finish(step(store))) for _ in range(15)]
    stop.set()
    for thread in threads:
        thread.join()
    assert ended == [0] * 15
    assert finish(step(store)) == sum(counts) + 15
    store.__exit__(None, None, None)
