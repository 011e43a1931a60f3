"""A log in SQL beside eventsourcing: appends one by one, in batches of 100, and the load of a stream of 1,000 events.

Both write to the same server or the same kind of file (WAL, `synchronous=FULL`), in one process. Ours runs in a
loop of asyncio, one caller alone unless said otherwise; eventsourcing has no asyncio and runs plainly, or in threads.
Beside its bare recorder, which like ours takes and gives bytes, stands its application, which makes objects of them.

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
from typing import Any
from urllib.parse import urlsplit

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore
from harness import interleaved, report

from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.ports.log import NewEvent
from sdpatterns.testing import servers

SINGLES, BATCHES, BATCH, LOADS, LENGTH, TASKS = 300, 20, 100, 20, 1_000, 32
PACKAGES = ["sdpatterns", "sqlalchemy", "asyncpg", "psycopg", "eventsourcing"]
DATA = b"x" * 100


class Ours:
    def __init__(self, url: str) -> None:
        self.backend = SQLBackend(url)
        self.log = self.backend.log("bench")
        self.numbers = itertools.count()

    async def open(self) -> None:
        await self.backend.create()
        for begin in range(0, LENGTH, BATCH):
            await self.log.append("long", begin, self._events(BATCH))

    async def close(self) -> None:
        await self.backend.__aexit__(None, None, None)

    def _events(self, count: int) -> list[NewEvent]:
        return [NewEvent(id=f"e{next(self.numbers)}", type="noted", data=DATA) for _ in range(count)]

    async def _append(self, count: int, size: int) -> None:
        stream = uuid.uuid4().hex
        for number in range(count):
            await self.log.append(stream, number * size, self._events(size))

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
        each = SINGLES // 10
        with ThreadPoolExecutor(TASKS) as threads:
            began = time.perf_counter()
            for done in [threads.submit(self._append, each, 1) for _ in range(TASKS)]:
                done.result()
            return (time.perf_counter() - began) / (each * TASKS)

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

    def batches(self) -> float:
        return self._append(BATCHES, BATCH)

    def load(self) -> float:
        began = time.perf_counter()
        for _ in range(LOADS):
            counter: Any = self.app.repository.get(self.long)
            assert counter.count == LENGTH - 1
        return (time.perf_counter() - began) / (LOADS * LENGTH)


@contextmanager
def on_sqlite() -> Iterator[tuple[str, Any, dict[str, str]]]:
    with tempfile.TemporaryDirectory() as folder:
        recorder = SQLiteApplicationRecorder(SQLiteDatastore(f"{folder}/recorder.db"))
        settings = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": f"{folder}/application.db"}
        yield f"sqlite+aiosqlite:///{folder}/ours.db", recorder, settings


@contextmanager
def on_postgres() -> Iterator[tuple[str, Any, dict[str, str]]]:
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
        yield url.replace("postgresql:", "postgresql+asyncpg:"), PostgresApplicationRecorder(datastore), settings
        datastore.close()


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    for kind, opened in (("sqlite", on_sqlite()), ("postgres", on_postgres())):
        with opened as (url, made, settings), asyncio.Runner() as runner:
            ours, recorder, application = Ours(url), Recorder(made), WholeApplication(settings)
            runner.run(ours.open())

            def case(
                work: Callable[[], Coroutine[Any, Any, float]], runner: asyncio.Runner = runner
            ) -> Callable[[], float]:
                return lambda: runner.run(work())

            for title, mine in (("singles", ours.singles), ("batches", ours.batches), ("load", ours.load)):
                cases = {
                    "sdpatterns": case(mine),
                    "eventsourcing, recorder": getattr(recorder, title),
                    "eventsourcing, application": getattr(application, title),
                }
                if title == "singles":
                    cases["sdpatterns, 32 tasks"] = case(ours.singles_at_once)
                    cases["eventsourcing, recorder, 32 threads"] = recorder.singles_at_once
                interleaved(cases, 1)
                report(f"log_{kind}_{title}", interleaved(cases, rounds), "eventsourcing, recorder", PACKAGES)
            runner.run(ours.close())
            application.app.close()


if __name__ == "__main__":
    main()
