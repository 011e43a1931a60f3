"""What a backend holds open in this process: one set for each loop, or one for all threads."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

from sqlalchemy.engine import Connection

from sdpatterns.backends.sqlalchemy.cells.attempts import SQLAttempts
from sdpatterns.backends.sqlalchemy.cells.batch import CellTable
from sdpatterns.backends.sqlalchemy.cells.batches import Batches
from sdpatterns.backends.sqlalchemy.cells.row_queues import RowQueues
from sdpatterns.backends.sqlalchemy.database import Database
from sdpatterns.backends.sqlalchemy.engine.connections import Connections
from sdpatterns.backends.sqlalchemy.engine.dialect import Announce, payload
from sdpatterns.backends.sqlalchemy.engine.requests import VerbTable
from sdpatterns.backends.sqlalchemy.events.flushes import EventFlushes
from sdpatterns.backends.sqlalchemy.messages.flushes import MessageFlushes
from sdpatterns.backends.sqlalchemy.postgres.asyncpg import ConnectionFactory, LoopConnections
from sdpatterns.backends.sqlalchemy.postgres.dialect import PostgresDialect
from sdpatterns.backends.sqlalchemy.postgres.listeners import AsyncpgConnector, PsycopgConnector
from sdpatterns.backends.sqlalchemy.postgres.notifiers import Notifier, TaskNotifier, ThreadNotifier
from sdpatterns.backends.sqlalchemy.postgres.psycopg import ThreadConnections
from sdpatterns.backends.sqlalchemy.sqlite.connections import FileConnections
from sdpatterns.backends.sqlalchemy.sqlite.dialect import SQLiteDialect
from sdpatterns.backends.sqlalchemy.sqlite.listeners import FileListener, WriterListener
from sdpatterns.backends.sqlalchemy.sqlite.writer import Writer
from sdpatterns.ports.engine.listener import TaskListener, ThreadListener
from sdpatterns.ports.engine.remote import Listens
from sdpatterns.ports.engine.resources import Resources
from sdpatterns.ports.fanout import LocalSignals
from sdpatterns.ports.pressure import Pressure, sum_of

__all__ = ["DatabaseResources", "SQLResources", "Tables"]

T = TypeVar("T")


class Tables(NamedTuple):
    """The statements of each port."""

    cells: CellTable
    messages: VerbTable
    events: VerbTable


class SQLResources(Protocol):
    """Where a caller finds the batches, the connections and the listener of its loop."""

    attempts: SQLAttempts
    batches: Batches
    queues: RowQueues | None
    """Where steps wait for rows that others hold or write; None where the file is held as a whole."""
    flushes: MessageFlushes
    """Where goes what is asked of queues."""
    log_writes: EventFlushes
    """Where goes what changes a log."""
    log_reads: EventFlushes
    """Where goes what reads one; beside the writes, where the database lets it."""

    @property
    def connections(self) -> Connections:
        """The connections on which batches run."""
        ...

    @property
    def queue_connections(self) -> Connections:
        """Those for queues, so that no step on a cell waits behind a claim; the same ones on SQLite."""
        ...

    @property
    def log_connections(self) -> Sequence[Connections]:
        """Those on which logs are written and read; the same ones on SQLite."""
        ...

    @property
    def listener(self) -> Listens:
        """What hears the notifications of other clients."""
        ...

    @property
    def notifier(self) -> Notifier | None:
        """What notifies other clients; None where they look at the file instead."""
        ...

    async def on_one(self, task: Callable[[Connection], T], /) -> T:
        """Run a task on a connection of its own that commits each statement by itself."""
        ...

    async def close(self) -> None:
        """Close it all; it may be used again."""


class ThreadResources:
    """See `SQLResources`. Of the threads of a program without a loop: nothing here suspends."""

    def __init__(
        self,
        connections: ThreadConnections | FileConnections,
        queue_connections: ThreadConnections | FileConnections,
        log_connections: Sequence[ThreadConnections | FileConnections],
        tables: Tables,
        listener: ThreadListener | FileListener,
        notifier: ThreadNotifier | None = None,
    ) -> None:
        self.connections = connections
        self.queue_connections = queue_connections
        self.listener = listener
        self.notifier = notifier
        self.attempts = SQLAttempts(connections, tables.cells)
        self.log_connections = log_connections
        self.flushes = MessageFlushes(queue_connections, tables.messages, threads=True)
        self.log_writes, self.log_reads = [EventFlushes(each, tables.events, threads=True) for each in log_connections]
        self.batches = Batches.of_threads(self.attempts)
        self.queues = RowQueues(self.attempts, threads=True) if connections.waits_for_rows else None

    async def on_one(self, task: Callable[[Connection], T], /) -> T:
        """Run a task on a connection of its own that commits each statement by itself."""
        return self.connections.on_one(task)

    async def close(self) -> None:
        """Close it all; it may be used again."""
        # First, because their threads use the engine.
        await self.listener.stop()
        if self.notifier is not None:
            await self.notifier.stop()
        for each in self.log_connections:
            each.close()
        self.queue_connections.close()
        self.connections.close()


class FileResources:
    """See `SQLResources`. A loop's share in a SQLite file: the file itself belongs to the writer's thread."""

    queues: RowQueues | None = None
    notifier: Notifier | None = None

    def __init__(self, connections: FileConnections, tables: Tables, file: FileListener, writer: Writer) -> None:
        self.connections = self.queue_connections = connections
        self.log_connections = (connections,)
        self.listener = WriterListener(file, writer)
        self._file = file
        self._writer = writer
        self.attempts = SQLAttempts(connections, tables.cells)
        self.batches = Batches.of_tasks(self.attempts, writer.run)
        self.flushes = MessageFlushes(connections, tables.messages, threads=False, in_thread=writer.run)
        self.log_writes = EventFlushes(connections, tables.events, threads=False, in_thread=writer.run)
        self.log_reads = self.log_writes

    async def on_one(self, task: Callable[[Connection], T], /) -> T:
        """Run a task on a connection of its own that commits each statement by itself."""
        return await self._writer.run(lambda: self.connections.on_one(task))

    async def close(self) -> None:
        """Close it all; it may be used again."""
        await self._writer.run(self._close)
        self._writer.stop()

    def _close(self) -> None:
        self._file.close()
        self.connections.close()


class TaskResources:
    """See `SQLResources`. A loop's own engine, connections and listener."""

    def __init__(
        self,
        connections: LoopConnections,
        queue_connections: LoopConnections,
        log_connections: Sequence[LoopConnections],
        tables: Tables,
        listener: TaskListener,
        notifier: TaskNotifier,
    ) -> None:
        self.connections = connections
        self.queue_connections = queue_connections
        self.listener = listener
        self.notifier = notifier
        self.attempts = SQLAttempts(connections, tables.cells)
        self.batches = Batches.of_tasks(self.attempts)
        self.log_connections = log_connections
        self.flushes = MessageFlushes(queue_connections, tables.messages, threads=False)
        self.log_writes, self.log_reads = [EventFlushes(each, tables.events, threads=False) for each in log_connections]
        self.queues: RowQueues | None = RowQueues(self.attempts, threads=False)

    async def on_one(self, task: Callable[[Connection], T], /) -> T:
        """Run a task on a connection of its own that commits each statement by itself."""
        return await self.connections.on_one(task)

    async def close(self) -> None:
        """Close it all; it may be used again."""
        await self.listener.stop()
        await self.notifier.stop()
        for each in self.log_connections:
            await each.close()
        await self.queue_connections.close()
        await self.connections.close()


class DatabaseResources(Resources[SQLResources]):
    """See `Resources`: each loop has its own, and so have the threads of a blocking program."""

    def __init__(
        self,
        database: Database,
        dialect: PostgresDialect | SQLiteDialect,
        tables: Tables,
        timeout_s: float,
        random: Callable[[], float],
        local: LocalSignals,
    ) -> None:
        super().__init__(database.shown, blocking=database.blocking)
        self._database = database
        self._dialect = dialect
        self._tables = tables
        self._timeout_s = timeout_s
        self._random = random
        self._local = local
        self._file: tuple[FileConnections, FileListener, Writer] | None = None
        self._finalizer: weakref.finalize[..., DatabaseResources] | None = None
        # The file belongs to the writer's thread, which works for all loops.
        self.ends_with_loop = database.kind != "sqlite"

    def after_fork_in_child(self) -> None:
        """Start with nothing open. The finalizer would wait for a thread that only the parent has."""
        super().after_fork_in_child()
        if self._finalizer is not None:
            self._finalizer.detach()
        self._file = None

    def _make(self, loop: asyncio.AbstractEventLoop | None, /) -> SQLResources:
        if isinstance(self._dialect, SQLiteDialect):
            return self._of_file(self._dialect, in_loop=loop is not None)
        shown, timeout_s = self._database.shown, self._timeout_s
        if loop is None:
            engine = self._database.make()
            aside = ThreadNotifier(ThreadConnections(engine, self._dialect, shown, timeout_s))
            threads, for_queues, *for_logs = [
                ThreadConnections(engine, self._dialect, shown, timeout_s, aside.announce) for _ in range(4)
            ]
            hears = ThreadListener(PsycopgConnector(engine, shown, timeout_s), self._local, self._random)
            return ThreadResources(threads, for_queues, for_logs, self._tables, hears, aside)
        factory = ConnectionFactory(self._database.make_async())
        notifier = TaskNotifier(LoopConnections(factory, self._dialect, shown, timeout_s))
        tasks, loop_queues, *loop_logs = [
            LoopConnections(factory, self._dialect, shown, timeout_s, notifier.announce) for _ in range(4)
        ]
        listener = TaskListener(AsyncpgConnector(factory, shown, timeout_s), self._local, self._random)
        return TaskResources(tasks, loop_queues, loop_logs, self._tables, listener, notifier)

    def _of_file(self, dialect: SQLiteDialect, *, in_loop: bool) -> SQLResources:
        # Loops share one connection to the file, and threads without a loop have another of their own.
        if self._file is None or not in_loop:
            engine, shown = self._database.make(), self._database.shown
            connections = FileConnections(engine, dialect, shown, self._timeout_s, _waking(self._local))
            listener = FileListener(connections, self._local)
            if not in_loop:
                return ThreadResources(connections, connections, [connections] * 2, self._tables, listener)
            writer = Writer()
            # A backend that is never closed must not leave its thread behind.
            self._finalizer = weakref.finalize(self, _let_go, connections, writer)
            self._file = connections, listener, writer
        connections, listener, writer = self._file
        return FileResources(connections, self._tables, listener, writer)

    def announce_here(self) -> Announce | None:
        """What announces after a commit of the caller's; None without a loop that could do it."""
        if isinstance(self._dialect, SQLiteDialect):
            return _waking(self._local)
        try:
            notifier = self.here().notifier
        except RuntimeError:
            return None
        return None if notifier is None else notifier.announce

    def pressure(self) -> Pressure:
        """How busy the connections are, and how many steps wait for the next batch."""
        found = self.all_open()
        # The loops at one SQLite file share its connection.
        shared = {
            id(each): each for one in found for each in (one.connections, one.queue_connections, *one.log_connections)
        }.values()
        busy = [Pressure(each.usage.used, each.capacity, 0, each.usage.errors) for each in shared]
        # On SQLite the writes and reads of logs wait together.
        lines = {id(line): line for one in found for line in (one.flushes, one.log_writes, one.log_reads)}.values()
        return sum_of(busy, waiting=sum(each.batches.waiting for each in found) + sum(each.waiting for each in lines))


def _waking(local: LocalSignals) -> Announce:
    """Wakes the waiters of this process, and keeps nothing else alive."""
    return lambda topics: local.wake(map(payload, topics))


def _let_go(connections: FileConnections, writer: Writer) -> None:
    # In the writer's thread, after what it still has to do: this may be called inside a step that runs there.
    writer.post(connections.close)
    writer.stop()
