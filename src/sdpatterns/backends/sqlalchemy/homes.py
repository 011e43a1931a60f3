"""All that one loop, or the threads of a program without one, holds open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy.engine import Connection

from sdpatterns.backends.sqlalchemy.batches import Batches
from sdpatterns.backends.sqlalchemy.links import AsyncLink, BlockingLink, Link
from sdpatterns.backends.sqlalchemy.listeners import FileListener, WriterListener
from sdpatterns.backends.sqlalchemy.losers import Losers
from sdpatterns.backends.sqlalchemy.writer import Writer
from sdpatterns.ports.engine.listener import TaskListener, ThreadListener
from sdpatterns.ports.engine.remote import Listens

__all__ = ["FileHome", "Home", "LoopHome", "ThreadsHome"]

T = TypeVar("T")


class Home(Protocol):
    """Where a caller finds its batches, its connections and its listener."""

    batches: Batches
    losers: Losers | None
    """Where steps wait for rows that others hold or write; None where the file is held as a whole."""

    @property
    def link(self) -> Link:
        """The connections on which batches run."""
        ...

    @property
    def listener(self) -> Listens:
        """What hears the notifications of other clients."""
        ...

    async def on_one(self, task: Callable[[Connection], T], /) -> T:
        """Run a task on a connection of its own that commits each statement by itself."""
        ...

    async def close(self) -> None:
        """Close it all; it may be used again."""


class ThreadsHome:
    """See `Home`. Nothing here suspends."""

    def __init__(self, link: BlockingLink, listener: ThreadListener | FileListener) -> None:
        self.link = link
        self.listener = listener
        self.batches = Batches.of_threads(link)
        self.losers = Losers(link, threads=True) if link.waits_for_rows else None

    async def on_one(self, task: Callable[[Connection], T], /) -> T:
        """Run a task on a connection of its own that commits each statement by itself."""
        return self.link.on_one(task)

    async def close(self) -> None:
        """Close it all; it may be used again."""
        await self.listener.stop()
        self.link.close()


class FileHome:
    """See `Home`. A loop's share in a SQLite file: the file itself belongs to the writer's thread."""

    def __init__(self, link: BlockingLink, file: FileListener, writer: Writer) -> None:
        self.link = link
        self.listener = WriterListener(file, writer)
        self._file = file
        self._writer = writer
        self.batches = Batches.of_tasks(link, writer)
        self.losers: Losers | None = None

    async def on_one(self, task: Callable[[Connection], T], /) -> T:
        """Run a task on a connection of its own that commits each statement by itself."""
        return await self._writer.run(lambda: self.link.on_one(task))

    async def close(self) -> None:
        """Close it all; it may be used again."""
        await self._writer.run(self._close)
        self._writer.stop()

    def _close(self) -> None:
        self._file.close()
        self.link.close()


class LoopHome:
    """See `Home`. A loop's own engine, connections and listener."""

    def __init__(self, link: AsyncLink, listener: TaskListener) -> None:
        self.link = link
        self.listener = listener
        self.batches = Batches.of_tasks(link)
        self.losers: Losers | None = Losers(link, threads=False)

    async def on_one(self, task: Callable[[Connection], T], /) -> T:
        """Run a task on a connection of its own that commits each statement by itself."""
        return await self.link.on_one(task)

    async def close(self) -> None:
        """Close it all; it may be used again."""
        await self.listener.stop()
        await self.link.close()
