"""The thread that owns the SQLite file on behalf of all loops of this process."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["Writer"]

T = TypeVar("T")


class Writer:
    """The thread that owns the SQLite file on behalf of all loops of this process."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def post(self, job: Callable[[], None]) -> None:
        """Run the job in the thread, after those before it."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="sdpatterns-sqlite", daemon=True)
                self._thread.start()
            self._jobs.put(job)

    async def run(self, task: Callable[[], T]) -> T:
        """The task's result, from the thread, for a task of a loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def job() -> None:
            """Run the task, and hand what comes of it to the loop."""
            try:
                result = task()
            except BaseException as error:  # noqa: BLE001 - it is raised where the task was asked for
                _tell_loop(loop, _set_exception, future, error)
            else:
                _tell_loop(loop, _set_result, future, result)

        self.post(job)
        return await future

    def stop(self) -> None:
        """Let the thread finish what it has and end; the next job starts another one."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._jobs.put(None)
                # Not in the thread itself, where the last reference to a forgotten backend may go.
                if thread is not threading.current_thread():
                    thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            # A transition that raises KeyboardInterrupt or the like ends its batch, not the thread.
            with contextlib.suppress(BaseException):
                job()
            # While the thread waits for the next one, it must not keep this one's backend alive.
            del job


def _tell_loop(loop: asyncio.AbstractEventLoop, say: Callable[..., None], *words: object) -> None:
    """Call `say` in the loop, if it still runs; if not, the callers that waited there ended with it."""
    try:
        loop.call_soon_threadsafe(say, *words)
    except RuntimeError:
        return


def _set_result(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _set_exception(future: asyncio.Future[T], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
