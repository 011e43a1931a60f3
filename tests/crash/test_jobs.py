"""Jobs while their workers are killed, or their servers are killed and started again.

    pytest tests/crash/test_jobs.py -m "" -s

The long runs note their figures in `benchmarks/results/jobs_crash.json`, which `docs/patterns/jobs.md` shows.
"""

from __future__ import annotations

import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, NamedTuple

import anyio
import pytest
from anyio import to_thread

from sdpatterns.errors import BackendError
from sdpatterns.messaging.jobs import Worker
from sdpatterns.testing import servers
from sdpatterns.testing.processes import ServerProcess
from tests.backends.everywhere import unique
from tests.crash.jobs_worker import App
from tests.crash.processes import Speaker, noted, report
from tests.machine import slowness

pytestmark = [pytest.mark.anyio, pytest.mark.unmeasured]

NIGHTLY_KINDS = [pytest.param(kind, marks=pytest.mark.nightly) for kind in ("sqlite", "postgres")]
KINDS = ["valkey", *NIGHTLY_KINDS]
PATIENCE_S = 240.0
LONG = [pytest.mark.long, pytest.mark.timeout(3600)]


class Store(NamedTuple):
    """Where the queue is, where the effects are counted, and the server that can be killed."""

    queue_url: str
    effects_url: str
    server: ServerProcess | None


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Servers that answer for a write when the disk has it."""
    file = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('jobs') / 'jobs.db'}?timeout=60"
    if request.param == "sqlite":
        yield Store(file, file, None)
    elif request.param == "valkey":
        with servers.valkey_process(durable=True) as server:
            yield Store(f"redis://127.0.0.1:{server.port}", file, server)
    else:
        with servers.postgres_process(durable=True) as (server, plain_url):
            url = plain_url.replace("://", "+asyncpg://") + "?ssl=disable"
            yield Store(url, url, server)


@pytest.fixture
async def app(store: Store) -> AsyncIterator[App]:
    """Jobs of a name that no other test has."""
    found = App(unique("crash"), store.queue_url, store.effects_url)
    await found.create()
    yield found
    await found.close()


@contextlib.asynccontextmanager
async def worker(app: App, store: Store, **settings: float) -> AsyncIterator[Speaker]:
    """A worker in a process of its own, once it is ready."""
    speaker = Speaker("jobs_worker", app.name, store.queue_url, store.effects_url, json.dumps(settings))
    try:
        await until(lambda: speaker.said["ready"] > 0)
        yield speaker
    finally:
        await to_thread.run_sync(speaker.close)


async def until(what: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < limit, "it hangs"
        await anyio.sleep(0.01)


async def until_done(app: App, number: int) -> None:
    """Wait for the effect of one job."""
    limit = time.monotonic() + PATIENCE_S
    while number not in await app.done():
        assert time.monotonic() < limit, "it hangs"
        await anyio.sleep(0.05)


def note(what: str, kind: str, figures: dict[str, Any]) -> None:
    """Keep the figures of a long run."""
    noted("jobs_crash", 'pytest tests/crash/test_jobs.py -m ""', what, kind, figures)


def kind_of(request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["store"])


@pytest.mark.parametrize("settings", [{"lease_s": 1.0, "poll_s": 0.5}, pytest.param({}, marks=LONG, id="defaults")])
async def test_the_job_of_a_killed_worker_runs_again(
    settings: dict[str, float], app: App, store: Store, request: pytest.FixtureRequest
) -> None:
    async with worker(app, store, **settings) as victim:
        await app.add.enqueue(1, 600.0)
        await until(lambda: victim.said["began 1"] == 1)
        survivor = Worker(app.jobs, **settings)  # type: ignore[arg-type] # numbers
        async with survivor:
            await anyio.sleep(0.1)
            assert survivor.running == 0
            killed_s = time.monotonic()
            await to_thread.run_sync(victim.close)
            await until(lambda: survivor.running == 1)
            took_s = time.monotonic() - killed_s
            survivor.drain_s = 0.0
    report(f"{kind_of(request)}: {took_s:.1f} s from SIGKILL until the job runs again, {settings or 'defaults'}")
    assert took_s <= 10 * slowness()
    if not settings:
        note("seconds_until_run_again", kind_of(request), {"seconds": round(took_s, 1)})


@pytest.mark.parametrize("leases", [3, pytest.param(20, marks=LONG)])
async def test_a_job_that_lives_for_many_leases_is_run_by_one_worker(
    leases: int, app: App, store: Store, request: pytest.FixtureRequest
) -> None:
    settings = {"lease_s": 1.0, "poll_s": 0.1}
    async with worker(app, store, **settings) as first:
        await app.add.enqueue(1, float(leases))
        await until(lambda: first.said["began 1"] > 0)
        async with Worker(app.jobs, **settings):  # type: ignore[arg-type] # numbers
            await until_done(app, 1)
        await to_thread.run_sync(first.end)
        began = first.said["began 1"] + app.begun.count(1)
    assert (began, await app.done()) == (1, [1])
    if leases == 20:
        note("began_in_20_leases", kind_of(request), {"began": began})


@pytest.mark.parametrize("store", ["valkey", pytest.param("postgres", marks=pytest.mark.nightly)], indirect=True)
async def test_a_worker_outlives_a_restart_of_its_server(app: App, store: Store) -> None:
    assert store.server is not None
    async with worker(app, store) as only:
        for number in (1, 2):
            await app.add.enqueue(number)
            await until(lambda number=number: only.said[f"began {number}"] > 0)
            await until_done(app, number)
            await to_thread.run_sync(store.server.kill)
            await to_thread.run_sync(store.server.start)
        assert only.process.poll() is None
        # Its own connections broke: the test is one more client that goes on.
        await app.add.enqueue(3)
        await until_done(app, 3)
        await to_thread.run_sync(only.end)


class Chaos:
    """Kills the server, or a worker where there is no server, each time that some jobs have begun; starts it again."""

    def __init__(self, app: App, store: Store, settings: dict[str, float]) -> None:
        self.kills = 0
        self.is_over = False
        self._app = app
        self._store = store
        self._words = (app.name, store.queue_url, store.effects_url, json.dumps(settings))
        self.dead: list[Speaker] = []
        self.workers = [self._new() for _ in range(2)]

    def _new(self) -> Speaker:
        return Speaker("jobs_worker", *self._words)

    @property
    def begun(self) -> int:
        """How many jobs have begun, each as often as it has."""
        return sum(each.lines for each in (*self.dead, *self.workers))

    def said(self) -> Counter[str]:
        """What the workers have said, once all of them are closed."""
        return sum((each.said for each in (*self.dead, *self.workers)), Counter())

    async def rage(self, every: int) -> None:
        """Until all is done."""
        draw = random.Random(17)
        while not self.is_over:
            aim = self.begun + draw.randint(every // 2, every * 3 // 2)
            while not self.is_over and self.begun < aim:  # noqa: ASYNC110 - other processes begin them
                await anyio.sleep(0.01)
            if not self.is_over:
                await to_thread.run_sync(self._strike, draw.random())
                self.kills += 1

    def _strike(self, chance: float) -> None:
        server = self._store.server
        if server is None:
            victim = self.workers.pop(0)
            victim.close()
            self.dead.append(victim)
            self.workers.append(self._new())
        else:
            server.kill()
            time.sleep(chance)
            server.start()

    def close(self) -> None:
        for each in self.workers:
            each.close()


async def enqueue_all(app: App, numbers: Sequence[int]) -> None:
    """In batches, each again and again until the store has answered."""
    for start in range(0, len(numbers), 50):
        messages = [app.add.options(id=f"job-{number}").message(number) for number in numbers[start : start + 50]]
        while True:
            try:
                await app.jobs.publish(messages)
                break
            except BackendError:
                await anyio.sleep(0.05)


async def all_done(app: App, jobs: int) -> list[int]:
    """The effects, once there is nothing more to come."""
    limit = time.monotonic() + 10 * PATIENCE_S
    while True:
        assert time.monotonic() < limit, "it hangs"
        with contextlib.suppress(Exception):
            depth = await app.jobs.queue.depth()
            if depth.due + depth.waiting + depth.leased == 0:
                return await app.done()
        await anyio.sleep(0.25)


@pytest.mark.parametrize(("jobs", "every"), [(100, 60), pytest.param(10_000, 300, marks=LONG)])
async def test_no_job_is_lost_and_none_has_its_effect_twice(
    jobs: int, every: int, app: App, store: Store, request: pytest.FixtureRequest
) -> None:
    kind, began_s = kind_of(request), time.monotonic()
    chaos = Chaos(app, store, {"lease_s": 2.0, "poll_s": 1.0, "concurrency": 20})
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(chaos.rage, every)
            await enqueue_all(app, range(jobs))
            done = await all_done(app, jobs)
            chaos.is_over = True
        parked = await app.jobs.queue.parked(jobs)
    finally:
        await to_thread.run_sync(chaos.close)
    effects = Counter(done)
    again = sum(count - 1 for word, count in chaos.said().items() if word.startswith("began"))
    figures = {
        "jobs": jobs, "killed": "a worker" if store.server is None else "the server", "kills": chaos.kills,
        "lost": jobs - len(effects), "parked": len(parked), "begun_again": again,
        "double_effects": len(done) - len(effects), "seconds": round(time.monotonic() - began_s),
    }  # fmt: skip
    report(f"{kind}: {figures}")
    assert figures["lost"] == figures["double_effects"] == figures["parked"] == 0
    assert chaos.kills > 0
    if jobs == 10_000:
        note("ten_thousand_jobs", kind, figures)
