"""How this process hears of the notifications of others: a changed file, for SQLite has nothing to listen to."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from sdpatterns.backends.sqlalchemy.engine.failures import unavailable
from sdpatterns.backends.sqlalchemy.sqlite.connections import FileConnections
from sdpatterns.backends.sqlalchemy.sqlite.writer import Writer
from sdpatterns.ports.fanout import LocalSignals

__all__ = ["FileListener", "WriterListener"]

_LOOK_S = 0.05


class FileListener:
    """See `Listens`. While there are subscribers, the file's `data_version` shows writes of other processes."""

    def __init__(self, connections: FileConnections, local: LocalSignals) -> None:
        self.local = local
        self._connections = connections
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    async def add(self, topics: Sequence[str], /) -> bool:
        """Look at the file from now on."""
        self.start()
        return True

    def drop(self, topics: Sequence[str], /) -> None:
        """Nothing: the thread ends when it finds no subscribers."""

    def start(self) -> None:
        """Look at the file now, and from now on in a thread."""
        try:
            if self._connections.others_wrote():
                self.local.wake_all()
        except Exception as error:
            raise unavailable(self._connections.shown, error) from error
        with self._lock:
            if self._thread is None:
                self._stopped = threading.Event()
                self._thread = threading.Thread(
                    target=self._watch, args=(self._stopped,), name="sdpatterns-sqlite-listen", daemon=True
                )
                self._thread.start()

    def close(self) -> None:
        """End the thread, if it runs."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stopped.set()
        if thread is not None:
            thread.join()

    async def stop(self) -> None:
        """End the thread, if it runs."""
        self.close()

    def _watch(self, stopped: threading.Event) -> None:
        while not stopped.wait(_LOOK_S):
            with self._lock:
                # Judged under the lock of `start`, so that a new subscriber never counts on a thread that is about to
                # end.
                if not self.local.has_subscribers and self._thread is threading.current_thread():
                    self._thread = None
                    return
            self._look()

    def _look(self) -> None:
        try:
            news = self._connections.others_wrote()
        except Exception:  # noqa: BLE001 - away: subscribers look for themselves
            news = True
        if news:
            self.local.wake_all()


class WriterListener:
    """See `Listens`. For the tasks of a loop: the file is looked at in the thread that owns it."""

    def __init__(self, file: FileListener, writer: Writer) -> None:
        self.local = file.local
        self._file = file
        self._writer = writer

    async def add(self, topics: Sequence[str], /) -> bool:
        """Look at the file from now on."""
        await self._writer.run(self._file.start)
        return True

    def drop(self, topics: Sequence[str], /) -> None:
        """Nothing: the thread ends when it finds no subscribers."""
