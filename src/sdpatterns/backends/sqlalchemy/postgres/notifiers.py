"""How this process tells others what was written: NOTIFY, after the commit, on a connection beside that of the steps.

```
durable unit --topics--> pending, each once --at most every 2 ms--> one SELECT pg_notify(...)
```

Postgres lets only one transaction that notifies commit at a time, in the whole server. So no write notifies by itself.
What is pending when the server does not answer is lost, because signals are best effort; the next ones are sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from sdpatterns.backends.sqlalchemy.engine.connections import Connections
from sdpatterns.backends.sqlalchemy.engine.dialect import payload
from sdpatterns.backends.sqlalchemy.engine.failures import unavailable
from sdpatterns.backends.sqlalchemy.engine.transactions import Transaction
from sdpatterns.backends.sqlalchemy.postgres.asyncpg import LoopConnections
from sdpatterns.backends.sqlalchemy.postgres.dialect import notify
from sdpatterns.backends.sqlalchemy.postgres.psycopg import ThreadConnections
from sdpatterns.core.context import deadline_left_s
from sdpatterns.core.runtime import Waiter, current, finish
from sdpatterns.errors import BackendUnavailable
from sdpatterns.ports.engine.failures import Lost, NotSent, repeat

__all__ = ["Notifier", "TaskNotifier", "ThreadNotifier"]

_PAUSE_S = 0.002
_TOPICS_MAX = 8192
_LAST_S = 1.0


class _Notification:
    """See `Unit`: topics that are sent together."""

    reads = False
    is_whole = False
    # A signal that comes twice is harmless, so that a lost reply leaves nothing to find out.
    doubt = False
    topics: Sequence[str] = ()

    def __init__(self, payloads: Sequence[str]) -> None:
        self.fresh = False
        self._payloads = payloads

    async def run(self, tx: Transaction, /, *, in_transaction: bool) -> bool:
        if self.fresh:
            # A notification needs no disk, and others that notify wait until this one is committed.
            await tx.execute("SET synchronous_commit = off")
        await notify(tx, self._payloads)
        return True

    async def clean_up(self, tx: Transaction, /) -> None:
        """Nothing."""


class _Pending:
    """What goes out together next, and who waits for that."""

    __slots__ = ("error", "payloads", "waiters")

    def __init__(self) -> None:
        self.payloads: dict[str, None] = {}
        self.waiters: list[Waiter] = []
        self.error: BaseException | None = None

    def end(self, error: BaseException | None = None) -> None:
        """It was sent, or is lost."""
        self.payloads = {}
        self.error = error
        for waiter in self.waiters:
            waiter.wake()


class Notifier(ABC):
    """Sends topics, those of many units together. It opens its connection with the first of them.

    **Keeps**: `announce` neither waits nor fails; a topic that is pending is sent once; `stop` sends what is pending.
    **May fail**: `notify`, with `BackendUnavailable`. **Costs**: a statement at most every two milliseconds, and at
    most 8,192 topics that are pending: announcements beyond that are lost.
    """

    linger_s = 0.0
    """How long it waits for more before it ends."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._lock = threading.Lock()
        self._pending: _Pending | None = None
        self._is_running = False
        self._more: Waiter | None = None
        self._is_stopped = False

    @abstractmethod
    def _start(self) -> None:
        """Run `_run`, in a task or a thread."""

    def announce(self, topics: Iterable[str]) -> None:
        """Send the topics soon, if that is possible."""
        # There may be no free thread, or the loop is just ending: they wait for the next ones, or are lost.
        with contextlib.suppress(RuntimeError):
            self._add(topics, None)

    async def notify(self, topics: Iterable[str]) -> None:
        """Send the topics and wait for that."""
        waiter = current().waiter()
        try:
            pending = self._add(topics, waiter)
        except RuntimeError as error:
            raise unavailable(self._connections.shown, error) from error
        if not await waiter.wait(deadline_left_s()):
            raise BackendUnavailable("the deadline passed before the notification was sent")
        if pending.error is not None:
            raise unavailable(self._connections.shown, pending.error) from pending.error

    def _add(self, topics: Iterable[str], waiter: Waiter | None) -> _Pending:
        with self._lock:
            pending = self._pending = self._pending or _Pending()
            if waiter is not None:
                pending.waiters.append(waiter)
            if waiter is not None or len(pending.payloads) < _TOPICS_MAX:
                pending.payloads.update(dict.fromkeys(map(payload, topics)))
            if not self._is_running:
                self._start()
                self._is_running = True
            elif self._more is not None:
                self._more.wake()
        return pending

    async def _run(self) -> None:
        pending: _Pending | None = None
        try:
            while (pending := await self._next()) is not None:
                await self._send(pending)
                await current().sleep(_PAUSE_S)
        except BaseException:
            self._interrupted(pending)
            raise

    async def _next(self) -> _Pending | None:
        """What is to be sent now; None where it has to end."""
        if self.linger_s:
            await self._linger()
        with self._lock:
            # In one breath, so that who comes now either sees it run or starts it again.
            self._more, pending, self._pending = None, self._pending, None
            self._is_running = pending is not None
        return pending

    async def _linger(self) -> None:
        with self._lock:
            more = self._more = None if self._pending is not None or self._is_stopped else current().waiter()
        if more is not None:
            await more.wait(self.linger_s)

    async def _send(self, pending: _Pending) -> None:
        payloads = list(pending.payloads)
        try:
            try:
                await self._try(payloads)
            except NotSent as lost:
                await repeat(lost, lambda: self._try(payloads), leaves_doubt=False)
        except Lost as lost:
            pending.end(lost.cause if isinstance(lost.cause, BaseException) else lost)
            if lost.is_late:
                self._lose(pending.error)
        else:
            pending.end()

    async def _try(self, payloads: Sequence[str]) -> None:
        notification = _Notification(payloads)
        try:
            await self._connections.run(notification)
        except Exception as error:
            # A connection that stood idle may have broken long ago: another one is worth an attempt.
            raise NotSent(error, again=not notification.fresh) from error

    def _lose(self, error: BaseException | None) -> None:
        """Give up what is pending, because it would wait for as long again."""
        with self._lock:
            pending, self._pending = self._pending, None
        if pending is not None:
            pending.end(error)

    def _interrupted(self, sending: _Pending | None) -> None:
        """Let nobody wait for it. What was not sent for certain stays pending: `stop` sends it."""
        left = _Pending()
        with self._lock:
            for pending in (sending, self._pending):
                if pending is not None and pending.payloads:
                    left.payloads.update(pending.payloads)
                    pending.end(ConnectionAbortedError("the notifier was stopped"))
            self._pending = left if left.payloads else None
            self._is_running = False


class TaskNotifier(Notifier):
    """The notifier of one event loop: a task, for as long as there is something to send."""

    def __init__(self, connections: LoopConnections) -> None:
        super().__init__(connections)
        self._side = connections
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    def _start(self) -> None:
        # It works for all callers, so it carries no caller's deadline and no caller's trace.
        self._task = self._loop.create_task(self._run(), context=contextvars.Context())

    async def stop(self) -> None:
        """Send what is pending, within a second, and end."""
        try:
            async with asyncio.timeout(_LAST_S):
                if self._task is not None:
                    await asyncio.wait({self._task})
                # A loop that ends has cancelled the task.
                pending, self._pending = self._pending, None
                if pending is not None:
                    await self._send(pending)
        except TimeoutError:
            await self._cut()
        finally:
            await self._side.close()

    async def _cut(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})


class ThreadNotifier(Notifier):
    """The notifier of all threads: a thread, which waits a second for more before it ends."""

    linger_s = 1.0

    def __init__(self, connections: ThreadConnections) -> None:
        super().__init__(connections)
        self._side = connections
        self._thread: threading.Thread | None = None

    def _start(self) -> None:
        self._is_stopped = False
        thread = threading.Thread(target=lambda: finish(self._run()), name="sdpatterns-notify", daemon=True)
        thread.start()
        self._thread = thread

    async def stop(self) -> None:
        """Send what is pending, as far as the server answers, and end."""
        with self._lock:
            self._is_stopped, thread, more = True, self._thread, self._more
        if more is not None:
            more.wake()
        if thread is not None:
            # Other threads may still bring more, so that there is no end to wait for.
            thread.join(self._side.timeout_s)
        self._side.close()
