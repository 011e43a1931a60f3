"""The one connection that listens for an event loop or for all threads, and is made again when it breaks.

```
subscriptions --count--> channels --ask--> Source --heard--> waiters of this process
                                             | breaks, or falls silent
                     Connector.open <--pause-'   and then: wake every waiter, for something may be missed
```

Written once for every backend, for tasks and for threads. What the listener awaits in a thread never
suspends, so that `finish` drives the same coroutine there.

Only the listener's own task or thread uses the connection for reading. Others change what is wanted,
under the lock, and say that it changed; the owner then asks the server in one command for all of it. So
a hundred waiters that come in one turn of the loop cost one command, not a hundred.

A channel that is no longer wanted stays subscribed for a while, because the next waiter for it usually
comes soon (an inbox of this process has a new one for each contended lock). It is given up, together with
all others like it, after a quiet time or when there are too many.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.runtime import Waiter, current, finish
from sdpatterns.ports.engine.source import Connector, Source
from sdpatterns.ports.fanout import LocalSignals

__all__ = ["Listener", "TaskListener", "ThreadListener"]

QUIET_S = 15.0
"""How long a silent connection is believed in, and an unwanted channel kept."""
IDLE_MAX = 1024
"""How many unwanted channels are kept."""
_PAUSE_FIRST_S = 0.05
_PAUSE_MAX_S = 2.0


class _Entry:
    """One subscriber that waits for its channels."""

    __slots__ = ("error", "missing", "waiter")

    def __init__(self, waiter: Waiter, missing: set[str]) -> None:
        self.waiter = waiter
        self.missing = missing
        self.error: Exception | None = None


class Listener(ABC):
    """See the module and `Listens`.

    **Keeps**: once `add` has returned, a later notification wakes; when some may have been missed, every
    waiter wakes. A subscriber that is cancelled leaves nothing behind.
    **May fail**: `add` with what the connector makes of the failure, when the server is away, refuses, or
    does not confirm within `timeout_s`. A listener that breaks later fails no waiter; it tries again, with
    growing pauses, as long as something is wanted.
    """

    def __init__(self, connector: Connector, local: LocalSignals, random: Callable[[], float]) -> None:
        self.local = local
        self._connector = connector
        self._random = random
        self._lock = threading.Lock()
        self._source: Source | None = None
        self._wanted: dict[str, int] = {}
        self._new: dict[str, None] = {}
        self._asked: set[str] = set()
        self._live: set[str] = set()
        self._idle: dict[str, None] = {}
        self._leaving: set[str] = set()
        self._waiting: dict[str, set[_Entry]] = {}
        self._is_running = False
        self._was_away = False
        self._is_stopped = False
        self._swept_s = 0.0

    @abstractmethod
    def _start(self) -> None:
        """Run `_run`, in a task or a thread."""

    @abstractmethod
    def _changed(self) -> None:
        """Have `_ask` called soon, by the owner of the connection."""

    async def add(self, topics: Sequence[str], /) -> bool:
        """See `Listens`."""
        channels = {self._connector.channel_of(topic) for topic in topics}
        entry = self._enter(channels)
        if entry is None:
            return False
        self._changed()
        try:
            await self._confirmation(entry)
        except BaseException:
            self._forget(entry)
            self._leave(channels)
            raise
        return True

    async def _confirmation(self, entry: _Entry) -> None:
        if not await entry.waiter.wait(self._connector.timeout_s):
            raise self._connector.failure(TimeoutError("it does not confirm a subscription"))
        if entry.error is not None:
            raise entry.error

    def _enter(self, channels: set[str]) -> _Entry | None:
        with self._lock:
            if not self._is_running:
                self._start()
                self._is_running = True
            for channel in channels:
                self._wanted[channel] = self._wanted.get(channel, 0) + 1
                self._idle.pop(channel, None)
            # A channel that is heard already needs no confirmation: that is the common case, and costs no trip.
            missing = channels - self._live
            if not missing:
                return None
            self._new.update(dict.fromkeys(missing - self._asked))
            entry = _Entry(current().waiter(), missing)
            for channel in missing:
                self._waiting.setdefault(channel, set()).add(entry)
            return entry

    def _forget(self, entry: _Entry) -> None:
        with self._lock:
            for channel in entry.missing:
                entries = self._waiting.get(channel, set())
                entries.discard(entry)
                if not entries:
                    self._waiting.pop(channel, None)

    def drop(self, topics: Sequence[str], /) -> None:
        """See `Listens`."""
        self._leave({self._connector.channel_of(topic) for topic in topics})

    def leave(self, topics: Sequence[str], /) -> None:
        """Drop topics that no other subscriber will want, and give their channels up soon."""
        self.drop(topics)
        with self._lock:
            self._leaving.update(map(self._connector.channel_of, topics))
        self._changed()

    def _leave(self, channels: set[str]) -> None:
        with self._lock:
            for channel in channels:
                self._wanted[channel] -= 1
                if not self._wanted[channel]:
                    del self._wanted[channel]
                    self._new.pop(channel, None)
                    # Kept for a while, because the next waiter on a busy key wants the same channel again.
                    if channel in self._live:
                        self._idle[channel] = None
            has_many = len(self._idle) > IDLE_MAX
        if has_many:
            self._changed()

    def heard(self, topic: str) -> None:
        """The connection heard a notification."""
        self.local.wake((topic,))

    def confirmed(self, channel: str) -> None:
        """The server has confirmed a channel that it was asked for."""
        with self._lock:
            self._asked.discard(channel)
            self._live.add(channel)
            if channel not in self._wanted:
                self._idle[channel] = None
            entries = self._waiting.pop(channel, set())
            for entry in entries:
                entry.missing.discard(channel)
            is_back = self._was_away and not self._asked and not self._new
            if is_back:
                self._was_away = False
        for entry in entries:
            if not entry.missing:
                entry.waiter.wake()
        # What was announced while the connection was broken is lost, so all waiters look for themselves.
        if is_back:
            self.local.wake_all()

    def _ask(self) -> None:
        """Ask the server for what changed. Only the owner of the connection calls it."""
        with self._lock:
            source = self._source
            leaving, self._leaving = self._leaving, set()
            add, drop = list(self._new), [channel for channel in self._idle if channel in leaving]
            if len(self._idle) > IDLE_MAX:
                drop = list(self._idle)
            if source is None or not (add or drop):
                return
            # Noted before they are asked for, so that a confirmation never comes for an unknown channel.
            self._new.clear()
            self._asked.update(add)
            self._give_up(drop)
        for channel in source.ask(add, drop):
            self.confirmed(channel)

    def _give_up(self, channels: Iterable[str]) -> None:
        for channel in channels:
            del self._idle[channel]
            self._live.discard(channel)

    async def _run(self, stop: Waiter) -> None:
        try:
            await self._listen_until(stop)
        except BaseException:
            self._end()
            raise

    async def _listen_until(self, stop: Waiter) -> None:
        pause_s = _PAUSE_FIRST_S
        while self._goes_on():
            began_s, error = SYSTEM.monotonic(), None
            try:
                source = await self._connector.open(self)
            except Exception as failure:  # noqa: BLE001 - subscribers get it, and it is tried again
                self._tell(error := failure)
            else:
                error = await self._listened(source)
            if error is None:
                continue
            self._was_away = True
            # A connection that lasted was a good one: the next pause is a short one again.
            if SYSTEM.monotonic() - began_s > QUIET_S:
                pause_s = _PAUSE_FIRST_S
            if await stop.wait(pause_s * (0.5 + self._random())):
                break
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    def _goes_on(self) -> bool:
        with self._lock:
            # In one breath, so that a subscriber that comes now either sees it run or starts another one.
            self._is_running = bool(self._wanted) and not self._is_stopped
            return self._is_running

    async def _listened(self, source: Source) -> Exception | None:
        """Listen on a connection until it breaks (the error) or nothing is wanted."""
        try:
            with self._lock:
                self._source = source
                self._new = dict.fromkeys(self._wanted)
            self._swept_s = SYSTEM.monotonic()
            self._ask()
            while self._is_wanted():
                # A peer that vanished without a FIN looks like one that has nothing to say.
                if not await source.receive(QUIET_S):
                    await source.prove()
                self._ask()
        except Exception as error:  # noqa: BLE001 - it broke: a new connection is made
            # The subscribers wait for that one, unless it would be refused again.
            if self._connector.is_refusal(error):
                self._tell(error)
            return error
        finally:
            with self._lock:
                self._source = None
                self._asked.clear()
                self._live.clear()
                self._idle.clear()
            await source.close()
        return None

    def _is_wanted(self) -> bool:
        """False when it is stopped, and when no channel has been wanted for a while."""
        if self._is_stopped:
            return False
        now_s = SYSTEM.monotonic()
        if now_s - self._swept_s < QUIET_S:
            return True
        self._swept_s = now_s
        with self._lock:
            drop, source = list(self._idle), self._source
            self._give_up(drop)
            is_wanted = bool(self._wanted)
        if is_wanted and drop and source is not None:
            source.ask((), drop)
        return is_wanted

    def _end(self) -> None:
        with self._lock:
            self._is_running = False
        self._tell(ConnectionAbortedError("the listener was stopped"))

    def _tell(self, error: Exception) -> None:
        """Fail those that wait to be confirmed."""
        with self._lock:
            entries = {entry for waiting in self._waiting.values() for entry in waiting}
            self._waiting.clear()
        for entry in entries:
            entry.error = self._connector.failure(error)
            entry.waiter.wake()


class TaskListener(Listener):
    """The listener of one event loop: a task."""

    def __init__(self, connector: Connector, local: LocalSignals, random: Callable[[], float]) -> None:
        super().__init__(connector, local, random)
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None
        self._is_due = False

    def _start(self) -> None:
        # It works for all subscribers, so it carries no subscriber's deadline and no subscriber's trace.
        self._task = self._loop.create_task(self._run(current().waiter()), context=contextvars.Context())

    def _changed(self) -> None:
        # Once, after the tasks of this turn: they may want more.
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._is_due = False
        self._ask()

    async def stop(self) -> None:
        """End, if it runs."""
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait({task})


class ThreadListener(Listener):
    """The listener of all threads: a thread. It keeps nothing alive but what it was given."""

    def __init__(self, connector: Connector, local: LocalSignals, random: Callable[[], float]) -> None:
        super().__init__(connector, local, random)
        self._thread: threading.Thread | None = None
        self._stop = current().waiter()

    def _start(self) -> None:
        self._is_stopped = False
        self._stop = stop = current().waiter()
        self._thread = threading.Thread(
            target=lambda: finish(self._run(stop)),
            name="sdpatterns-listen",
            daemon=True,
        )
        self._thread.start()

    def _changed(self) -> None:
        source = self._source
        if source is not None:
            source.interrupt()

    async def stop(self) -> None:
        """End, if it runs. Waits for the thread."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._is_stopped = True
            self._stop.wake()
        self._changed()
        if thread is not None:
            thread.join()
