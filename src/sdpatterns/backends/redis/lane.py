"""One piece of work in flight, the rest gather and go together.

```
 a caller alone:      run ---> work([item])                        no task, no extra turn
 callers meanwhile:   run ---> waiting ---> work([item, item, ...])  in one task, until none waits
```
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Generic, TypeAlias, TypeVar, cast

from sdpatterns.backends.redis.failures import Lost, NotSent
from sdpatterns.core.runtime import finish

__all__ = ["Lane", "ThreadLane", "Work"]

I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")

Work: TypeAlias = Callable[[Sequence[I]], Awaitable[Sequence[R]]]


class Lane(Generic[I, R]):
    """Folds the items of concurrent callers into batches, in the order in which they came.

    Keeps: one batch in flight; every waiting caller gets its result, the work's exception, or its
    own cancellation. A caller cancelled while it waits takes its item back; one cancelled with its
    item in flight leaves the item to its fate and the lane to the next. `at_rest` is called when
    the last of several has been served.
    """

    __slots__ = ("_at_rest", "_busy", "_loop", "_most", "_server", "_waiting", "_work")

    def __init__(self, work: Work[I, R], *, at_most: int, at_rest: Callable[[], object] = bool) -> None:
        self._work = work
        self._at_rest = at_rest
        self._most = at_most
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[I, asyncio.Future[R]]] = deque()
        self._busy = False
        self._server: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight and nobody waits."""
        return not self._busy

    @property
    def waiting(self) -> int:
        """How many wait behind what is in flight."""
        return len(self._waiting)

    async def run(self, item: I) -> R:
        """The result of the work for this item."""
        if self._busy:
            future: asyncio.Future[R] = self._loop.create_future()
            self._waiting.append((item, future))
            return await future
        self._busy = True
        try:
            results = await self._work((item,))
        except Lost as lost:
            if isinstance(lost, NotSent) or lost.is_late:
                self.send_away(NotSent(lost.cause))
            raise
        finally:
            # No await between seeing the queue empty and clearing the flag, else a wake-up is lost.
            if self._waiting:
                self._server = self._loop.create_task(self._serve())
            else:
                self._busy = False
        return results[0]

    async def _serve(self) -> None:
        try:
            while batch := self._batch():
                await self._settle(batch)
                # Callers that were answered may ask again in this turn and share the next batch. When one
                # is full already it goes at once, and its work overlaps with what they do.
                if len(self._waiting) < self._most:
                    await asyncio.sleep(0)
        finally:
            self._busy = False
            while self._waiting:
                self._waiting.popleft()[1].cancel()
            self._at_rest()

    def _batch(self) -> list[tuple[I, asyncio.Future[R]]]:
        batch: list[tuple[I, asyncio.Future[R]]] = []
        while self._waiting and len(batch) < self._most:
            item, future = self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
        return batch

    def send_away(self, away: NotSent) -> None:
        """Fail all who wait: else they would find out one batch after another that the server is away."""
        while self._waiting:
            future = self._waiting.popleft()[1]
            if not future.done():
                future.set_exception(away)

    async def _settle(self, batch: list[tuple[I, asyncio.Future[R]]]) -> None:
        try:
            results = await self._work([item for item, _ in batch])
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error) if isinstance(error, Exception) else future.cancel()
            if isinstance(error, NotSent) or (isinstance(error, Lost) and error.is_late):
                self.send_away(NotSent(error.cause))
            if not isinstance(error, Exception):
                raise
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)


class _Turn(Generic[I]):
    """One thread's item, and the bell that rings when the item is done or the thread has to lead."""

    __slots__ = ("bell", "done", "error", "item", "left", "result")

    def __init__(self, item: I) -> None:
        self.item = item
        self.bell = threading.Event()
        self.done = False
        self.left = False
        self.result: Any = None
        self.error: Exception | None = None


class ThreadLane(Generic[I, R]):
    """The same among threads: the leading thread sends what all waiting ones want, then hands the lead on.

    Keeps: as `Lane`; the work's coroutine never suspends, and no lock is held while it runs.
    """

    __slots__ = ("_busy", "_lock", "_most", "_waiting", "_work")

    def __init__(self, work: Work[I, R], *, at_most: int) -> None:
        self._work = work
        self._most = at_most
        self._lock = threading.Lock()
        self._waiting: deque[_Turn[I]] = deque()
        self._busy = False

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight and nobody waits."""
        return not self._busy

    @property
    def waiting(self) -> int:
        """How many wait behind what is in flight."""
        return len(self._waiting)

    async def run(self, item: I) -> R:
        """The result of the work for this item."""
        mine = _Turn(item)
        with self._lock:
            leads, self._busy = not self._busy, True
            self._waiting.append(mine)
        try:
            if not leads:
                mine.bell.wait()
            if not mine.done:
                self._lead()
        except BaseException:
            # Interrupted (Ctrl-C) while waiting: should the lead come to us, another thread has to take it.
            mine.left = True
            self._hand_over(mine)
            raise
        if mine.error is not None:
            raise mine.error
        return cast("R", mine.result)

    def send_away(self, away: NotSent) -> None:
        """Fail all who wait. Called by the work, in the thread that leads."""
        with self._lock:
            waiting = list(self._waiting)
            self._waiting.clear()
        for turn in waiting:
            turn.error = NotSent(away.cause)
            turn.done = True
            turn.bell.set()

    def _lead(self) -> None:
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most))]
        wanted = [turn for turn in batch if not turn.left]
        try:
            work = cast("Coroutine[Any, Any, Sequence[R]]", self._work([turn.item for turn in wanted]))
            for turn, result in zip(wanted, finish(work), strict=True):
                turn.result = result
        except BaseException as error:
            for turn in wanted:
                turn.error = (
                    error if isinstance(error, Exception) else InterruptedError("the thread that led was stopped")
                )
            if not isinstance(error, Exception):
                raise
        finally:
            for turn in batch:
                turn.done = True
                turn.bell.set()
            self._hand_over(None)

    def _hand_over(self, leaver: _Turn[I] | None) -> None:
        with self._lock:
            if leaver is not None and (leaver.done or not leaver.bell.is_set()):
                return
            while self._waiting and self._waiting[0].left:
                self._waiting.popleft()
            if self._waiting:
                self._waiting[0].bell.set()
            else:
                self._busy = False
