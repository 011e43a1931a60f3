"""Logs and event stores in SQL beside eventsourcing: single appends, batches of 100, and a stream of 1,000 events.

Both write to the same server or the same kind of file (WAL), in one process, one caller alone unless said otherwise.
With `synchronous=FULL` a file waits for the disk at each commit; with NORMAL, in a table of its own, it does not. Ours
runs in a loop of asyncio, and without one; eventsourcing has no asyncio. Our log stands beside its recorder, since both
take and give bytes, and our event store beside its application: both make objects of them, and of a stream that is
loaded they make the state.

    python benchmarks/log_sql.py [rounds]
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from eventsourcing.sqlite import (
    SQLiteApplicationRecorder,
    SQLiteConnection,
    SQLiteConnectionPool,
    SQLiteDatastore,
)
from harness import interleaved, report

from sdpatterns import Aggregate as OurAggregate
from sdpatterns import EventSchema, EventStore, EventType
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.core.runtime import finish
from sdpatterns.ports.log import NewEvent
from sdpatterns.testing import servers

TITLES = ("singles", "batches", "load")
SINGLES, BATCHES, BATCH, LOADS, LENGTH, TASKS = 300, 20, 100, 20, 1_000, 32
PACKAGES = ["sdpatterns", "sqlalchemy", "asyncpg", "psycopg", "eventsourcing"]
DATA = b"x" * 100
RECORDER = "eventsourcing, recorder"
STORE = {
    "store": "sdpatterns",
    "store, no loop": "sdpatterns, no loop",
    "application": "eventsourcing",
    "store, 32 tasks": "sdpatterns, 32 tasks",
    "application, 32 threads": "eventsourcing, 32 threads",
}
"""The cases of the event store, and what they are called in a table of their own."""


@dataclass(frozen=True)
class Counted:
    text: str


def count(state: int, event: Counted) -> int:
    return state + 1


COUNTER = OurAggregate(name="counter", initial=0, decide=lambda state, event: [event], evolve=count)
SCHEMA = EventSchema(EventType("counted", Counted))


class Ours:
    """The log, which takes and gives bytes, and the event store, which makes objects of them."""

    def __init__(self, name: str, url: str, *, durable: bool) -> None:
        self.backend = SQLBackend(url, durable=durable)
        self.log = self.backend.log(name)
        self.store = EventStore(name, backend=self.backend, schema=SCHEMA)
        self.numbers = itertools.count()

    async def open(self) -> None:
        await self.backend.create()
        for begin in range(0, LENGTH, BATCH):
            await self.log.append("long", begin, self._events(BATCH))
            await self.store.append(COUNTER.stream("long"), begin, [Counted("x" * 50)] * BATCH)

    async def close(self) -> None:
        await self.backend.__aexit__(None, None, None)

    def _events(self, count: int) -> list[NewEvent]:
        return [NewEvent(id=f"e{next(self.numbers)}", type="noted", data=DATA) for _ in range(count)]

    async def _append(self, count: int, size: int) -> None:
        stream = uuid.uuid4().hex
        for number in range(count):
            await self.log.append(stream, number * size, self._events(size))

    async def _store(self, count: int, size: int) -> float:
        stream, began = uuid.uuid4().hex, time.perf_counter()
        for number in range(count):
            await self.store.append(stream, number * size, [Counted("x" * 50) for _ in range(size)])
        return (time.perf_counter() - began) / (count * size)

    async def singles(self) -> float:
        began = time.perf_counter()
        await self._append(SINGLES, 1)
        return (time.perf_counter() - began) / SINGLES

    async def singles_at_once(self) -> float:
        each = SINGLES // 10
        began = time.perf_counter()
        await asyncio.gather(*(self._append(each, 1) for _ in range(TASKS)))
        return (time.perf_counter() - began) / (each * TASKS)

    async def batches(self) -> float:
        began = time.perf_counter()
        await self._append(BATCHES, BATCH)
        return (time.perf_counter() - began) / (BATCHES * BATCH)

    async def load(self) -> float:
        began = time.perf_counter()
        for _ in range(LOADS):
            assert len((await self.log.read("long", 0, LENGTH)).events) == LENGTH
        return (time.perf_counter() - began) / (LOADS * LENGTH)

    async def store_singles(self) -> float:
        return await self._store(SINGLES, 1)

    async def store_singles_at_once(self) -> float:
        each = SINGLES // 10
        began = time.perf_counter()
        await asyncio.gather(*(self._store(each, 1) for _ in range(TASKS)))
        return (time.perf_counter() - began) / (each * TASKS)

    async def store_batches(self) -> float:
        return await self._store(BATCHES, BATCH)

    async def store_load(self) -> float:
        began = time.perf_counter()
        for _ in range(LOADS):
            assert (await self.store.state(COUNTER, "long")).state == LENGTH
        return (time.perf_counter() - began) / (LOADS * LENGTH)


def in_threads(append: Callable[[int, int], float]) -> float:
    each = SINGLES // 10
    with ThreadPoolExecutor(TASKS) as threads:
        began = time.perf_counter()
        for done in [threads.submit(append, each, 1) for _ in range(TASKS)]:
            done.result()
        return (time.perf_counter() - began) / (each * TASKS)


class Counter(Aggregate):
    def __init__(self) -> None:
        self.count = 0

    @event("Counted")
    def counted(self, text: str) -> None:
        self.count += 1


class Recorder:
    """eventsourcing's recorder, with bytes."""

    def __init__(self, recorder: Any) -> None:
        self.recorder = recorder
        recorder.create_table()
        self.long = uuid.uuid4()
        for begin in range(0, LENGTH, BATCH):
            recorder.insert_events(self._events(self.long, begin, BATCH))

    def _events(self, stream: uuid.UUID, begin: int, count: int) -> list[StoredEvent]:
        return [StoredEvent(stream, begin + place + 1, "noted", DATA) for place in range(count)]

    def _append(self, count: int, size: int) -> float:
        stream, began = uuid.uuid4(), time.perf_counter()
        for number in range(count):
            self.recorder.insert_events(self._events(stream, number * size, size))
        return (time.perf_counter() - began) / (count * size)

    def singles(self) -> float:
        return self._append(SINGLES, 1)

    def singles_at_once(self) -> float:
        return in_threads(self._append)

    def batches(self) -> float:
        return self._append(BATCHES, BATCH)

    def load(self) -> float:
        began = time.perf_counter()
        for _ in range(LOADS):
            assert len(self.recorder.select_events(self.long)) == LENGTH
        return (time.perf_counter() - began) / (LOADS * LENGTH)


class WholeApplication:
    """eventsourcing as its users meet it, with aggregates."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.app: Application[uuid.UUID] = Application(settings)
        counter = Counter()
        for _ in range(LENGTH - 1):
            counter.counted("x" * 50)
        self.app.save(counter)
        self.long = counter.id

    def _append(self, count: int, size: int) -> float:
        counter = Counter()
        self.app.save(counter)
        began = time.perf_counter()
        for _ in range(count):
            for _ in range(size):
                counter.counted("x" * 50)
            self.app.save(counter)
        return (time.perf_counter() - began) / (count * size)

    def singles(self) -> float:
        return self._append(SINGLES, 1)

    def singles_at_once(self) -> float:
        return in_threads(self._append)

    def batches(self) -> float:
        return self._append(BATCHES, BATCH)

    def load(self) -> float:
        began = time.perf_counter()
        for _ in range(LOADS):
            counter: Any = self.app.repository.get(self.long)
            assert counter.count == LENGTH - 1
        return (time.perf_counter() - began) / (LOADS * LENGTH)


class NormalPool(SQLiteConnectionPool):
    """eventsourcing has no setting for it."""

    def _create_connection(self) -> SQLiteConnection:
        connection = super()._create_connection()
        connection.cursor().execute("PRAGMA synchronous = NORMAL")
        return connection


@contextmanager
def on_sqlite(*, durable: bool) -> Iterator[tuple[tuple[str, str], Any, dict[str, str]]]:
    pool = SQLiteConnectionPool if durable else NormalPool
    with tempfile.TemporaryDirectory() as folder, patch("eventsourcing.sqlite.SQLiteConnectionPool", pool):
        recorder = SQLiteApplicationRecorder(SQLiteDatastore(f"{folder}/recorder.db"))
        settings = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": f"{folder}/application.db"}
        urls = f"sqlite+aiosqlite:///{folder}/ours.db", f"sqlite:///{folder}/threaded.db"
        yield urls, recorder, settings


@contextmanager
def on_postgres() -> Iterator[tuple[tuple[str, str], Any, dict[str, str]]]:
    with servers.postgres_server() as url:
        parts = urlsplit(url)
        place = {
            "dbname": parts.path[1:],
            "host": parts.hostname or "localhost",
            "port": str(parts.port or 5432),
            "user": parts.username or "postgres",
            "password": parts.password or "",
        }
        datastore = PostgresDatastore(**place)  # type: ignore[arg-type]
        settings = {f"POSTGRES_{name.upper()}": value for name, value in place.items()}
        settings["PERSISTENCE_MODULE"] = "eventsourcing.postgres"
        urls = url.replace("postgresql:", "postgresql+asyncpg:"), url.replace("postgresql:", "postgresql+psycopg:")
        yield urls, PostgresApplicationRecorder(datastore), settings
        datastore.close()


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    for kind, opened, titles in (
        ("sqlite", on_sqlite(durable=True), TITLES),
        ("sqlite_normal", on_sqlite(durable=False), TITLES[:1]),
        ("postgres", on_postgres(), TITLES),
    ):
        durable = kind != "sqlite_normal"
        with opened as (urls, made, settings), asyncio.Runner() as runner:
            ours = Ours("tasks", urls[0], durable=durable)
            threaded = Ours("threads", urls[1], durable=durable)
            recorder, application = Recorder(made), WholeApplication(settings)
            runner.run(ours.open())
            finish(threaded.open())

            def case(
                work: Callable[[], Coroutine[Any, Any, float]], runner: asyncio.Runner = runner
            ) -> Callable[[], float]:
                return lambda: runner.run(work())

            for title in titles:
                logs = {
                    "sdpatterns": case(getattr(ours, title)),
                    "sdpatterns, no loop": plain(getattr(threaded, title)),
                    RECORDER: getattr(recorder, title),
                }
                if title == "singles":
                    logs["sdpatterns, 32 tasks"] = case(ours.singles_at_once)
                    logs[f"{RECORDER}, 32 threads"] = recorder.singles_at_once
                stores = {
                    "store": case(getattr(ours, f"store_{title}")),
                    "store, no loop": plain(getattr(threaded, f"store_{title}")),
                    "application": getattr(application, title),
                }
                if title == "singles":
                    stores["store, 32 tasks"] = case(ours.store_singles_at_once)
                    stores["application, 32 threads"] = application.singles_at_once
                interleaved(logs | stores, 1)
                found = interleaved(logs | stores, rounds)
                report(f"log_{kind}_{title}", {name: found[name] for name in logs}, RECORDER, PACKAGES)
                report(
                    f"eventstore_{kind}_{title}",
                    {STORE[name]: found[name] for name in stores},
                    "eventsourcing",
                    PACKAGES,
                )
            runner.run(ours.close())
            threaded.backend.__exit__(None, None, None)
            application.app.close()


def plain(work: Callable[[], Coroutine[Any, Any, float]]) -> Callable[[], float]:
    return lambda: finish(work())


if __name__ == "__main__":
    main()
