"""One batch in flight at a time; the items of callers that come meanwhile go together in the next one.

```
a caller alone:      run ---> work([item])                       no task, no extra turn of the loop
callers meanwhile:   run ---> waiting ---> work([item, ...])     in one task or thread, until none waits
```

Written once for every backend, for tasks and for threads. What is decided here, and nowhere else:

- **Context.** A batch works for all its callers, so it runs in an empty context: no caller's deadline
  ends it, no caller's trace gets it. Only a caller alone runs its own item in its own context.
- **Cancellation.** A caller that is cancelled while it waits takes its item back. One that is cancelled
  with its item in a batch leaves the item to the batch, because it cannot be called back; the others are
  not disturbed. A caller alone that runs its own item cancels the work: make it so that this harms
  nothing, or ask for `alone="in a task"`.
- **Deadline.** A thread cannot be cancelled, so one that waits leaves the queue when its caller's deadline
  comes. Its item was not in a batch then, and nothing happened. One whose item is in a batch waits for it.
- **Failure.** What the work raises reaches every caller of the batch. A result that is an exception is raised
  for the one caller whose item that was. `behind` says what those get who wait behind a batch that failed:
  else each of their batches would find out for itself that the server does not answer.
- **No lost wake-up.** The flag that says "a batch is in flight" is cleared in the same breath in which the
  queue is seen empty: among tasks no await lies between the two, among threads both are under the lock.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar, cast

from sdpatterns.core.context import deadline_left_s
from sdpatterns.core.runtime import finish
from sdpatterns.errors import BackendUnavailable

__all__ = ["Batcher", "One", "TaskBatcher", "ThreadBatcher", "Work"]

I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Work: TypeAlias = Callable[[Sequence[I]], Awaitable[Sequence[R | Exception]]]
"""Does what the items say, and gives their results in the same order, or why one of them has none."""

One: TypeAlias = Callable[[I], Awaitable[R]]
"""Does what one item says."""

Behind: TypeAlias = Callable[[BaseException], "Exception | None"]
"""What those get who wait behind a batch that failed so; None: they have their turn."""


def have_their_turn(_: BaseException) -> None:
    """The next batch is tried, however this one ended."""


class Batcher(Protocol[I, R_co]):
    """A `TaskBatcher` or a `ThreadBatcher`."""

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight and no caller waits."""
        ...

    @property
    def waiting(self) -> int:
        """How many wait behind the batch in flight."""
        ...

    async def run(self, item: I, /) -> R_co:
        """The result of the work for this item."""
        ...

    def send_away(self, of: Callable[[I], Exception | None], /) -> None:
        """Fail those who wait with the exception that `of` gives for their item; None lets one wait on."""
        ...


class TaskBatcher(Generic[I, R]):
    """See `Batcher` and the module, among the tasks of one loop.

    `at_rest` is called when the last of several has been served. `one` does the same as `work` for the item of a
    caller alone, where that is shorter.
    """

    __slots__ = ("_at_rest", "_behind", "_busy", "_loop", "_most", "_one", "_server", "_straight", "_waiting", "_work")

    def __init__(
        self,
        work: Work[I, R],
        *,
        at_most: int,
        alone: Literal["straight", "in a task"] = "straight",
        one: One[I, R] | None = None,
        behind: Behind = have_their_turn,
        at_rest: Callable[[], object] = bool,
    ) -> None:
        self._work = work
        self._one = one
        self._most = at_most
        self._straight = alone == "straight"
        self._behind = behind
        self._at_rest = at_rest
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[I, asyncio.Future[R]]] = deque()
        self._busy = False
        self._server: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        return not self._busy

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def run(self, item: I) -> R:
        if self._busy or not self._straight:
            # A future and no event, because it carries the result or the error and is cancelled with its caller.
            future: asyncio.Future[R] = self._loop.create_future()
            self._waiting.append((item, future))
            if not self._busy:
                self._busy = True
                self._begin()
            return await future
        # A caller alone needs no task and no further turn of the loop.
        self._busy = True
        try:
            if self._one is not None:
                return await self._one(item)
            [result] = await self._work((item,))
        except Exception as error:
            self._tell_those_behind(error)
            raise
        finally:
            # Not after an await: one who came in between would find the flag set and wait without end.
            if self._waiting:
                self._begin()
            else:
                self._busy = False
        if isinstance(result, Exception):
            raise result
        return result

    def _begin(self) -> None:
        self._server = self._loop.create_task(self._serve(), context=contextvars.Context())

    async def _serve(self) -> None:
        try:
            while self._waiting:
                items, futures = self._batch()
                if items:
                    # Here and not in a method, which would be resumed for each reply of the server.
                    try:
                        results = await self._work(items)
                    except BaseException as error:
                        self._fail(futures, error)
                        if not isinstance(error, Exception):
                            raise
                    else:
                        for future, result in zip(futures, results, strict=True):
                            _end(future, result)
                # Callers that were answered may ask again in this turn and share the next batch. When one
                # is full already it goes at once, and its work overlaps with what they do.
                if len(self._waiting) < self._most:
                    await asyncio.sleep(0)
        finally:
            # Only the end of the loop cancels this task, and its callers with it.
            self._busy = False
            while self._waiting:
                self._waiting.popleft()[1].cancel()
            self._at_rest()

    def _batch(self) -> tuple[list[I], list[asyncio.Future[R]]]:
        items: list[I] = []
        futures: list[asyncio.Future[R]] = []
        while self._waiting and len(items) < self._most:
            item, future = self._waiting.popleft()
            if not future.done():  # else its caller was cancelled
                items.append(item)
                futures.append(future)
        return items, futures

    def _fail(self, futures: Sequence[asyncio.Future[R]], error: BaseException) -> None:
        for future in futures:
            _end(future, error) if isinstance(error, Exception) else future.cancel()
        if isinstance(error, Exception):
            self._tell_those_behind(error)

    def _tell_those_behind(self, error: Exception) -> None:
        away = self._behind(error)
        if away is not None:
            self.send_away(lambda _: away)

    def send_away(self, of: Callable[[I], Exception | None], /) -> None:
        """See `Batcher`."""
        for _ in range(len(self._waiting)):
            item, future = self._waiting.popleft()
            away = of(item)
            if away is None:
                self._waiting.append((item, future))
            else:
                _end(future, away)


def _end(future: asyncio.Future[R], result: R | Exception) -> None:
    # A caller that was cancelled meanwhile has no use for its result.
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)


class _Turn(Generic[I]):
    """One thread that waits, and the event that tells it that it was served or has to lead."""

    __slots__ = ("called", "done", "error", "in_batch", "item", "left", "result")

    def __init__(self, item: I) -> None:
        self.item = item
        self.called = threading.Event()
        self.in_batch = False
        self.done = False
        self.left = False
        self.result: Any = None
        self.error: Exception | None = None

    def end(self, result: Any) -> None:
        """It is served."""
        if isinstance(result, Exception):
            self.error = result
        else:
            self.result = result
        self.done = True
        self.called.set()


class ThreadBatcher(Generic[I, R]):
    """See `Batcher` and the module, among threads: one of them leads.

    The thread that comes first runs its item. Then it hands the lead to the first one that waits, which
    runs the batch of all that wait, and so on: no caller works for others longer than one batch. The work's
    coroutine never suspends, and no lock is held while it runs.
    """

    __slots__ = ("_behind", "_busy", "_lock", "_most", "_waiting", "_work")

    def __init__(self, work: Work[I, R], *, at_most: int, behind: Behind = have_their_turn) -> None:
        self._work = work
        self._most = at_most
        self._behind = behind
        self._lock = threading.Lock()
        self._waiting: deque[_Turn[I]] = deque()
        self._busy = False

    @property
    def idle(self) -> bool:
        return not self._busy

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def run(self, item: I) -> R:
        # The flag and the queue change under one lock, so that a thread that sees the flag is seen in the queue.
        with self._lock:
            turn = _Turn(item) if self._busy else None
            self._busy = True
            if turn is not None:
                self._waiting.append(turn)
        return self._alone(item) if turn is None else self._together(turn)

    def _alone(self, item: I) -> R:
        try:
            [result] = finish(cast("Coroutine[Any, Any, Sequence[R | Exception]]", self._work((item,))))
        except Exception as error:
            self._tell_those_behind(error)
            raise
        finally:
            self._hand_over()
        if isinstance(result, Exception):
            raise result
        return result

    def _together(self, mine: _Turn[I]) -> R:
        try:
            if not mine.called.wait(deadline_left_s()):
                self._leave(mine)
                # Its item is in a batch, which cannot be called back and ends within the store's own bound.
                mine.called.wait()
            if not mine.done:
                self._lead()
        except BaseException:
            # Interrupted (Ctrl-C) while it waited: should the lead come to us, another thread has to take it.
            mine.left = True
            with self._lock:
                has_the_lead = mine.called.is_set() and not mine.done
            if has_the_lead:
                self._hand_over()
            raise
        if mine.error is not None:
            raise mine.error
        return cast("R", mine.result)

    def _leave(self, mine: _Turn[I]) -> None:
        """Take the item back and raise, unless it is in a batch or has to lead."""
        with self._lock:
            # Once it was called it has to lead: else the queue would wait for a leader without end.
            if mine.in_batch or mine.called.is_set():
                return
            self._waiting.remove(mine)
        raise BackendUnavailable("the deadline passed while the call waited for its turn; nothing was sent")

    def _lead(self) -> None:
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most))]
            wanted = [turn for turn in batch if not turn.left]
            for turn in wanted:
                turn.in_batch = True
        failure: Exception = InterruptedError("the thread that led was stopped")
        results: Sequence[Any] = ()
        try:
            # An empty context, because the deadline of the thread that leads is not that of the others.
            work = cast("Coroutine[Any, Any, Sequence[R]]", self._work([turn.item for turn in wanted]))
            results = contextvars.Context().run(finish, work)
        except Exception as error:  # noqa: BLE001 - raised by each of those who waited for it
            failure = error
            self._tell_those_behind(error)
        finally:
            # Also after Ctrl-C in the thread that leads: the others must not wait without end.
            for place, turn in enumerate(wanted):
                turn.end(results[place] if results else failure)
            for turn in batch:
                turn.done = True
            self._hand_over()

    def _hand_over(self) -> None:
        with self._lock:
            while self._waiting and self._waiting[0].left:
                self._waiting.popleft()
            if self._waiting:
                self._waiting[0].called.set()
            else:
                self._busy = False

    def _tell_those_behind(self, error: Exception) -> None:
        away = self._behind(error)
        if away is not None:
            self.send_away(lambda _: away)

    def send_away(self, of: Callable[[I], Exception | None], /) -> None:
        """See `Batcher`. Called by the thread that leads."""
        with self._lock:
            waiting = list(self._waiting)
            self._waiting.clear()
            # Those that wait on keep their order, because the first of them has to be called first.
            gone = [(turn, of(turn.item)) for turn in waiting]
            self._waiting.extend(turn for turn, away in gone if away is None)
        for turn, away in gone:
            if away is not None:
                turn.end(away)
