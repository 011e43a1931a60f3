"""What a backend holds open in this process, found by loop, forgotten in a fork."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable

from sdpatterns.backends.sqlalchemy.engines import Engines
from sdpatterns.backends.sqlalchemy.folds import Writer
from sdpatterns.backends.sqlalchemy.homes import FileHome, Home, LoopHome, ThreadsHome
from sdpatterns.backends.sqlalchemy.links import AsyncLink, BlockingLink
from sdpatterns.backends.sqlalchemy.listeners import AsyncpgConnector, FileListener, PsycopgConnector
from sdpatterns.backends.sqlalchemy.work import Speech
from sdpatterns.core.forks import drop_in_child, new_lock
from sdpatterns.ports.engine.listener import TaskListener, ThreadListener
from sdpatterns.ports.fanout import LocalSignals
from sdpatterns.ports.pressure import Pressure, sum_of

__all__ = ["Holdings"]

_LEFT_TO_THE_PARENT: list[object] = []


class Holdings:
    """Gives each loop its home, and the threads of a blocking program theirs."""

    def __init__(
        self,
        engines: Engines,
        speech: Speech,
        timeout_s: float,
        random: Callable[[], float],
        local: LocalSignals,
    ) -> None:
        self._engines = engines
        self._speech = speech
        self._timeout_s = timeout_s
        self._random = random
        self._local = local
        self._lock = new_lock()
        self._last_words: weakref.finalize[..., Holdings] | None = None
        self._hold_nothing()
        drop_in_child(self)

    def after_fork_in_child(self) -> None:
        """Hold nothing. Sockets and files are shared with the parent now, so closing them would harm it."""
        _LEFT_TO_THE_PARENT.append(dict(vars(self)))
        if self._last_words is not None:
            self._last_words.detach()
        self._hold_nothing()

    def _hold_nothing(self) -> None:
        self._homes: dict[asyncio.AbstractEventLoop, Home] = {}
        self._threads: ThreadsHome | None = None
        self._file: tuple[BlockingLink, FileListener, Writer] | None = None

    def home(self) -> Home:
        """The home of the running loop, or of all threads."""
        if self._engines.blocking:
            return self._threads or self._home_of_threads()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                f"{self._engines.shown} needs an asyncio loop; elsewhere build the backend with blocking=True"
            ) from None
        return self._homes.get(loop) or self._home_of_loop(loop)

    def _home_of_threads(self) -> ThreadsHome:
        with self._lock:
            if self._threads is None:
                link = self._blocking_link()
                if self._engines.database == "sqlite":
                    self._threads = ThreadsHome(link, FileListener(link, self._local))
                else:
                    connector = PsycopgConnector(link.engine, self._engines.shown, self._timeout_s)
                    self._threads = ThreadsHome(link, ThreadListener(connector, self._local, self._random))
            return self._threads

    def _home_of_loop(self, loop: asyncio.AbstractEventLoop) -> Home:
        for other in [other for other in self._homes if other.is_closed()]:
            self._homes.pop(other, None)
        home = self._home_at_the_file() if self._engines.database == "sqlite" else self._home_of_its_own()
        self._homes[loop] = home
        return home

    def _home_at_the_file(self) -> FileHome:
        with self._lock:
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
        homes = [home for loop, home in tuple(self._homes.items()) if not loop.is_closed()]
        homes += [] if self._threads is None else [self._threads]
        # The loops at one SQLite file share its link.
        links = {id(home.link): home.link for home in homes}.values()
        busy = [Pressure(link.usage.used, link.capacity, 0, link.usage.errors) for link in links]
        return sum_of(busy, waiting=sum(home.fold.waiting for home in homes))

    async def close(self) -> None:
        """Close what the running loop (or every thread) holds."""
        if self._engines.blocking:
            with self._lock:
                home: Home | None = self._threads
        else:
            home = self._homes.get(asyncio.get_running_loop())
        if home is not None:
            await home.close()


def _let_go(link: BlockingLink, writer: Writer) -> None:
    writer.stop()
    link.close()
