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

from sdpatterns.backends.sqlalchemy.attempts import carry, send_away
from sdpatterns.backends.sqlalchemy.links import Link
from sdpatterns.core.runtime import finish
from sdpatterns.errors import BackendUnavailable
from sdpatterns.ports.engine.failures import Lost
from sdpatterns.ports.engine.steps import PendingStep

__all__ = ["Fold", "LockFold", "TaskFold", "ThreadFold", "Writer"]

T = TypeVar("T")

_BATCH_MAX = 512


class Fold(Protocol):
    """Takes steps and ends them."""

    @property
    def waiting(self) -> int:
        """How many steps wait for the next batch."""
        ...

    async def run(self, step: PendingStep, /) -> None:
        """With whatever else waits. When this returns, the step is done."""

    async def run_apart(self, step: PendingStep, /) -> None:
        """Alone, waiting for its rows."""


def _take(pending: deque[PendingStep]) -> list[PendingStep]:
    """The next batch, without those whose callers were cancelled before anything was sent."""
    some = (pending.popleft() for _ in range(min(len(pending), _BATCH_MAX)))
    return [step for step in some if step.future is None or not step.future.done()]


class LockFold:
    """For threads: the one that gets the lock runs what all the others wait for."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._pending: deque[PendingStep] = deque()

    @property
    def waiting(self) -> int:
        """How many steps wait for the next batch."""
        return len(self._pending)

    async def run(self, step: PendingStep, /) -> None:
        """With whatever else waits. When this returns, the step is done."""
        self._pending.append(step)
        while not step.done:
            with self._lock:
                if not step.done:
                    late = finish(carry(self._link, _take(self._pending)))
                    if late is not None:
                        send_away(self._link.shown, self._pending, late)

    async def run_apart(self, step: PendingStep, /) -> None:
        """Alone, waiting for its rows."""
        await carry(self._link, [step], apart=True)


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


def _wake(steps: Iterable[PendingStep]) -> None:
    for step in steps:
        if step.future is not None and not step.future.done():
            step.future.set_result(None)


class ThreadFold:
    """For the tasks of one loop on SQLite: all steps of a loop turn in one hop to the writer."""

    def __init__(self, link: Link, writer: Writer) -> None:
        self._link = link
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._pending: deque[PendingStep] = deque()
        self._busy = False

    @property
    def waiting(self) -> int:
        """How many steps wait for the next batch."""
        return len(self._pending)

    async def run(self, step: PendingStep, /) -> None:
        """With whatever else waits. When this returns, the step is done."""
        step.future = self._loop.create_future()
        self._pending.append(step)
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._flush)
        await step.future

    async def run_apart(self, step: PendingStep, /) -> None:
        """Alone, waiting for its rows."""
        step.future = self._loop.create_future()
        self._send([step], apart=True)
        await step.future

    def _flush(self) -> None:
        batch = _take(self._pending)
        if batch:
            self._send(batch, apart=False)
        elif self._pending:
            self._loop.call_soon(self._flush)
        else:
            self._busy = False

    def _send(self, batch: list[PendingStep], *, apart: bool) -> None:
        def job() -> None:
            late: Lost | None = None
            try:
                late = finish(carry(self._link, batch, apart=apart))
            finally:
                tell_loop(self._loop, self._settle, batch, apart, late)

        self._writer.post(job)

    def _settle(self, batch: list[PendingStep], apart: bool, late: Lost | None) -> None:  # noqa: FBT001 - a callback
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
        self._pending: deque[PendingStep] = deque()
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many steps wait for the next batch."""
        return len(self._pending)

    async def run(self, step: PendingStep, /) -> None:
        """With whatever else waits. When this returns, the step is done."""
        step.future = self._loop.create_future()
        self._pending.append(step)
        if self._task is None:
            # It works for all callers, so it carries no caller's deadline and no caller's trace.
            self._task = self._loop.create_task(self._flush(), context=contextvars.Context())
        await step.future

    async def run_apart(self, step: PendingStep, /) -> None:
        """Alone, waiting for its rows."""
        await carry(self._link, [step], apart=True)

    async def _flush(self) -> None:
        batch: list[PendingStep] = []
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

    def _end(self, batch: list[PendingStep]) -> None:
        """Only a cancelled flush leaves callers behind; a loop that ends cancels it."""
        for step in self._pending:
            step.fail(BackendUnavailable(f"{self._link.shown}: the loop ends, the step did not happen"))
        _wake([*batch, *self._pending])
        self._pending.clear()
