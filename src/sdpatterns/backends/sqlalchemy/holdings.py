"""What a backend holds open in this process, found by loop, forgotten in a fork."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable

from sdpatterns.backends.sqlalchemy.engines import Engines
from sdpatterns.backends.sqlalchemy.homes import FileHome, Home, LoopHome, ThreadsHome
from sdpatterns.backends.sqlalchemy.links import AsyncLink, BlockingLink
from sdpatterns.backends.sqlalchemy.listeners import AsyncpgConnector, FileListener, PsycopgConnector
from sdpatterns.backends.sqlalchemy.work import Speech
from sdpatterns.backends.sqlalchemy.writer import Writer
from sdpatterns.ports.engine.listener import TaskListener, ThreadListener
from sdpatterns.ports.engine.resources import Resources
from sdpatterns.ports.fanout import LocalSignals
from sdpatterns.ports.pressure import Pressure, sum_of

__all__ = ["Holdings"]


class Holdings(Resources[Home]):
    """See `Resources`: each loop has its home, and the threads of a blocking program have theirs."""

    def __init__(
        self,
        engines: Engines,
        speech: Speech,
        timeout_s: float,
        random: Callable[[], float],
        local: LocalSignals,
    ) -> None:
        super().__init__(engines.shown, blocking=engines.blocking)
        self._engines = engines
        self._speech = speech
        self._timeout_s = timeout_s
        self._random = random
        self._local = local
        self._file: tuple[BlockingLink, FileListener, Writer] | None = None
        self._last_words: weakref.finalize[..., Holdings] | None = None
        # The file belongs to the writer's thread, which works for all loops.
        self.ends_with_loop = engines.database != "sqlite"

    def after_fork_in_child(self) -> None:
        """Start with nothing open. The finalizer would wait for a thread that only the parent has."""
        super().after_fork_in_child()
        if self._last_words is not None:
            self._last_words.detach()
        self._file = None

    def _make(self, loop: asyncio.AbstractEventLoop | None, /) -> Home:
        if loop is None:
            return self._home_of_threads()
        return self._home_at_the_file() if self._engines.database == "sqlite" else self._home_of_its_own()

    def _home_of_threads(self) -> ThreadsHome:
        link = self._blocking_link()
        if self._engines.database == "sqlite":
            return ThreadsHome(link, FileListener(link, self._local))
        connector = PsycopgConnector(link.engine, self._engines.shown, self._timeout_s)
        return ThreadsHome(link, ThreadListener(connector, self._local, self._random))

    def _home_at_the_file(self) -> FileHome:
        if self._file is None:
            link, writer = self._blocking_link(), Writer()
            self._last_words = weakref.finalize(self, _let_go, link, writer)
            self._file = link, FileListener(link, self._local), writer
        return FileHome(*self._file)

    def _home_of_its_own(self) -> LoopHome:
        shown = self._engines.shown
        link = AsyncLink(self._engines.make_async(), self._speech, shown, self._timeout_s)
        connector = AsyncpgConnector(link.dialer, shown, self._timeout_s)
        return LoopHome(link, TaskListener(connector, self._local, self._random))

    def _blocking_link(self) -> BlockingLink:
        return BlockingLink(self._engines.make(), self._speech, self._engines.shown, self._local, self._timeout_s)

    def pressure(self) -> Pressure:
        """How busy the connections are, and how many steps wait for the next batch."""
        homes = self.all_open()
        # The loops at one SQLite file share its link.
        links = {id(home.link): home.link for home in homes}.values()
        busy = [Pressure(link.usage.used, link.capacity, 0, link.usage.errors) for link in links]
        return sum_of(busy, waiting=sum(home.batches.waiting for home in homes))


def _let_go(link: BlockingLink, writer: Writer) -> None:
    writer.stop()
    link.close()
