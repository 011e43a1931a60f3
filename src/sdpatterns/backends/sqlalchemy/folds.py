"""How waiting steps become one batch: from the tasks of a loop, or from threads.

One flush is in flight at a time; whatever comes meanwhile goes with the next one. The flag that
says so is only ever cleared in the same breath in which the queue is seen empty.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from sdpatterns.backends.sqlalchemy.calls import Call
from sdpatterns.backends.sqlalchemy.flush import carry, send_away
from sdpatterns.backends.sqlalchemy.links import Link
from sdpatterns.core.runtime import finish
from sdpatterns.errors import BackendUnavailable

__all__ = ["Fold", "LockFold", "TaskFold", "ThreadFold", "Writer"]

T = TypeVar("T")

_BATCH_MAX = 512


class Fold(Protocol):
    """Takes calls and ends them."""

    @property
    def waiting(self) -> int:
        """How many calls wait for the next batch."""
        ...

    async def run(self, call: Call, /) -> None:
        """With whatever else waits. When this returns, the call is done."""

    async def run_apart(self, call: Call, /) -> None:
        """Alone, waiting for its rows."""


def _take(pending: deque[Call]) -> list[Call]:
    """The next batch, without those whose callers were cancelled before anything was sent."""
    some = (pending.popleft() for _ in range(min(len(pending), _BATCH_MAX)))
    return [call for call in some if call.future is None or not call.future.done()]


class LockFold:
    """For threads: the one that gets the lock runs what all the others wait for."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._pending: deque[Call] = deque()

    @property
    def waiting(self) -> int:
        """How many calls wait for the next batch."""
        return len(self._pending)

    async def run(self, call: Call, /) -> None:
        """With whatever else waits. When this returns, the call is done."""
        self._pending.append(call)
        while not call.done:
            with self._lock:
                if not call.done:
                    late = finish(carry(self._link, _take(self._pending)))
                    if late is not None:
                        send_away(self._link.shown, self._pending, late)

    async def run_apart(self, call: Call, /) -> None:
        """Alone, waiting for its rows."""
        await carry(self._link, [call], apart=True)


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

    async def hop(self, task: Callable[[], T]) -> T:
        """The task's result, from the thread, for a task of a loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def job() -> None:
            """Run the task, and hand what comes of it to the loop."""
            try:
                result = task()
            except BaseException as error:  # noqa: BLE001 - it is raised where the task was asked for
                tell_loop(loop, _set_exception, future, error)
            else:
                tell_loop(loop, _set_result, future, result)

        self.post(job)
        return await future

    def stop(self) -> None:
        """Let the thread finish what it has and end; the next job starts another one."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._jobs.put(None)
                thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            # A transition that raises KeyboardInterrupt or the like ends its batch, not the thread.
            with contextlib.suppress(BaseException):
                job()
            # While the thread waits for the next one, it must not keep this one's backend alive.
            del job


def tell_loop(loop: asyncio.AbstractEventLoop, say: Callable[..., None], *words: object) -> None:
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


def _wake(calls: Iterable[Call]) -> None:
    for call in calls:
        if call.future is not None and not call.future.done():
            call.future.set_result(None)


class ThreadFold:
    """For the tasks of one loop on SQLite: all steps of a loop turn in one hop to the writer."""

    def __init__(self, link: Link, writer: Writer) -> None:
        self._link = link
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._pending: deque[Call] = deque()
        self._busy = False

    @property
    def waiting(self) -> int:
        """How many calls wait for the next batch."""
        return len(self._pending)

    async def run(self, call: Call, /) -> None:
        """With whatever else waits. When this returns, the call is done."""
        call.future = self._loop.create_future()
        self._pending.append(call)
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._flush)
        await call.future

    async def run_apart(self, call: Call, /) -> None:
        """Alone, waiting for its rows."""
        call.future = self._loop.create_future()
        self._send([call], apart=True)
        await call.future

    def _flush(self) -> None:
        batch = _take(self._pending)
        if batch:
            self._send(batch, apart=False)
        elif self._pending:
            self._loop.call_soon(self._flush)
        else:
            self._busy = False

    def _send(self, batch: list[Call], *, apart: bool) -> None:
        def job() -> None:
            late: Exception | None = None
            try:
                late = finish(carry(self._link, batch, apart=apart))
            finally:
                tell_loop(self._loop, self._settle, batch, apart, late)

        self._writer.post(job)

    def _settle(self, batch: list[Call], apart: bool, late: Exception | None) -> None:  # noqa: FBT001 - a callback
        _wake(batch)
        if late is not None:
            _wake(send_away(self._link.shown, self._pending, late))
        if not apart:
            # After the tasks just woken have run: their next steps go with this flush.
            self._loop.call_soon(self._flush)


class TaskFold:
    """For the tasks of one loop on Postgres: a task of its own flushes while something waits."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._pending: deque[Call] = deque()
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many calls wait for the next batch."""
        return len(self._pending)

    async def run(self, call: Call, /) -> None:
        """With whatever else waits. When this returns, the call is done."""
        call.future = self._loop.create_future()
        self._pending.append(call)
        if self._task is None:
            # It works for all callers, so it carries no caller's deadline and no caller's trace.
            self._task = self._loop.create_task(self._flush(), context=contextvars.Context())
        await call.future

    async def run_apart(self, call: Call, /) -> None:
        """Alone, waiting for its rows."""
        await carry(self._link, [call], apart=True)

    async def _flush(self) -> None:
        batch: list[Call] = []
        try:
            while self._pending:
                batch = _take(self._pending)
                if batch:
                    late = await carry(self._link, batch)
                    _wake(batch)
                    if late is not None:
                        _wake(send_away(self._link.shown, self._pending, late))
                    # Let the tasks just woken run first: their next steps go with the next flush.
                    await asyncio.sleep(0)
        finally:
            self._task = None
            self._end(batch)

    def _end(self, batch: list[Call]) -> None:
        """Only a cancelled flush leaves callers behind; a loop that ends cancels it."""
        for call in self._pending:
            call.fail(BackendUnavailable(f"{self._link.shown}: the loop ends, the step did not happen"))
        _wake([*batch, *self._pending])
        self._pending.clear()
