"""How the requests of many callers become one unit on a connection: see `sdpatterns.ports.engine.batcher`.

```
requests that wait --> one unit for each verb and queue --> the answers, each to its caller
                       | the reply was lost: once more, because a second time does no harm
                       | another client holds a key: alone, on a connection where it may wait
```
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeAlias

from sdpatterns.backends.sqlalchemy.engine.connections import Connections
from sdpatterns.backends.sqlalchemy.engine.failures import lost_reply, unavailable
from sdpatterns.backends.sqlalchemy.engine.judging import judge_failure
from sdpatterns.backends.sqlalchemy.messages.requests import QueueRequest, QueueUnit
from sdpatterns.backends.sqlalchemy.messages.rows import ending
from sdpatterns.backends.sqlalchemy.messages.table import MessageTable
from sdpatterns.core import clock
from sdpatterns.core.runtime import finish
from sdpatterns.errors import SdpatternsError
from sdpatterns.ports.engine.batcher import Batcher, TaskBatcher, ThreadBatcher
from sdpatterns.ports.engine.failures import Lost, NotSent, ReplyLost, may_repeat
from sdpatterns.ports.queue import Claimed, Requeue

__all__ = ["Flushes"]

_REQUESTS_MAX = 256
_ITEMS_MAX = 2048
_BYTES_MAX = 4_194_304
"""What goes together in one statement, unless one caller alone brings more."""

_HELD = "another transaction holds the message or publishes to its key: end it"

InThread: TypeAlias = Callable[[Callable[[], Any]], Awaitable[Any]]


class Flushes:
    """Takes requests and ends them: each has its answers, its error, or is held up by another client.

    `in_thread` runs a function in the thread that owns the file, on SQLite.
    """

    def __init__(
        self, connections: Connections, table: MessageTable, *, threads: bool, in_thread: InThread | None = None
    ) -> None:
        self._connections = connections
        self._table = table
        self._in_thread = in_thread
        self._tasks: set[asyncio.Future[None]] = set()
        self._batcher: Batcher[QueueRequest, None] = (
            ThreadBatcher(self._together, at_most=_REQUESTS_MAX)
            if threads
            else TaskBatcher(self._together, at_most=_REQUESTS_MAX, alone="in a task")
        )

    @property
    def waiting(self) -> int:
        """How many requests wait for the next flush."""
        return self._batcher.waiting

    async def run(self, request: QueueRequest) -> None:
        """With whatever else waits."""
        try:
            await self._batcher.run(request)
        except InterruptedError:
            # The thread that led was interrupted; what became of this request stands in it.
            if not request.is_done:
                raise

    async def run_apart(self, request: QueueRequest) -> None:
        """Alone, where it may wait for what others hold."""
        await self._carry([request], apart=True)

    def give_back(self, request: QueueRequest) -> None:
        """What a claim took for a caller that is gone must not wait for the end of its lease."""
        if request.verb == "claim":
            self.settle_soon(request.queue, [claimed for taken in request.answers for claimed in taken.messages])

    def settle_soon(self, queue: str, claims: Sequence[Claimed]) -> None:
        """Give these claims back without waiting for that."""
        if claims and not isinstance(self._batcher, ThreadBatcher):
            task = asyncio.ensure_future(self._batcher.run(_requeue(queue, claims)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _together(self, requests: Sequence[QueueRequest]) -> Sequence[None]:
        late = await self._carry(requests, apart=False)
        for request in requests:
            if request.is_abandoned and request.verb == "claim":
                claims = [claimed for taken in request.answers for claimed in taken.messages]
                if claims:
                    await self._carry([_requeue(request.queue, claims)], apart=False)
        if late is not None:
            # Those who wait behind it would wait for as long again.
            self._batcher.send_away(lambda request: _sent_away(request, unavailable(self._connections.shown, late)))
        return [None] * len(requests)

    async def _carry(self, requests: Sequence[QueueRequest], *, apart: bool) -> BaseException | None:
        if self._in_thread is None:
            return await self._each(requests, apart=apart)

        def job() -> BaseException | None:
            try:
                return finish(self._each(requests, apart=apart))
            except Exception:
                raise
            except BaseException:  # noqa: BLE001 - a KeyboardInterrupt in the thread: each request knows its fate
                return None

        late: BaseException | None = await self._in_thread(job)
        return late

    async def _each(self, requests: Sequence[QueueRequest], *, apart: bool) -> BaseException | None:
        """One unit after another; what went wrong where the database did not answer in time."""
        late: BaseException | None = None
        try:
            for group in _groups(requests):
                if late is None:
                    late = await self._try(group, apart=apart)
                else:
                    for request in group:
                        request.fail(unavailable(self._connections.shown, late))
            return late
        finally:
            # Cancelled or interrupted in the middle: no caller may wait without end.
            for request in requests:
                if not request.is_done:
                    request.fail(self._unknown(ConnectionAbortedError("the client was stopped")))

    async def _try(self, requests: Sequence[QueueRequest], *, apart: bool) -> BaseException | None:
        todo, is_last = requests, False
        while todo:
            try:
                await self._attempt(todo, apart=apart)
            except Lost as lost:
                # One may be to blame, such as a value that the database refuses: the others must not suffer.
                if isinstance(lost, NotSent) and lost.apart and len(todo) > 1:
                    return await self._one_by_one(todo, apart=apart)
                todo = [request for request in todo if self._is_sent_again(request, lost, is_last=is_last)]
                if lost.is_late:
                    return _cause(lost)
                is_last = True
            else:
                return None
        return None

    async def _one_by_one(self, requests: Sequence[QueueRequest], *, apart: bool) -> BaseException | None:
        for place, request in enumerate(requests):
            late = await self._try([request], apart=apart)
            if late is not None:
                for behind in requests[place + 1 :]:
                    behind.fail(unavailable(self._connections.shown, late))
                return late
        return None

    async def _attempt(self, requests: Sequence[QueueRequest], *, apart: bool) -> None:
        connections, began = self._connections, clock.SYSTEM.monotonic()
        unit = QueueUnit(self._table, requests, _wait_max_s(requests) if apart else 0.0)
        holder = _HELD
        try:
            with connections.usage:
                await (connections.run_apart(unit) if apart else connections.run(unit))
        except Exception as error:  # noqa: BLE001 - judged, and raised unless another client holds what it needs
            holder = judge_failure(error, unit, connections, began) or _HELD
            unit.done = None
        if unit.done is None:
            for request in requests:
                request.hold(holder)
            return
        begin = 0
        for request in requests:
            end = begin + len(request.items)
            self._answer(request, unit.done.answers[begin:end])
            begin = end

    def _answer(self, request: QueueRequest, answers: Sequence[Any]) -> None:
        if request.in_doubt and False in answers:
            # Perhaps because the attempt whose reply was lost did it. Nobody can tell any more.
            request.fail(self._unknown(ConnectionError("a repeat found it done, or done by another client")))
        else:
            request.end(answers)

    def _is_sent_again(self, request: QueueRequest, lost: Lost, *, is_last: bool) -> bool:
        request.in_doubt = request.in_doubt or isinstance(lost, ReplyLost)
        if not is_last and may_repeat(lost, harmless=True, in_doubt=request.in_doubt):
            return True
        cause = _cause(lost)
        request.fail(self._unknown(cause) if request.in_doubt else unavailable(self._connections.shown, cause))
        return False

    def _unknown(self, cause: BaseException) -> SdpatternsError:
        return lost_reply(self._connections.shown, cause)


def _wait_max_s(requests: Sequence[QueueRequest]) -> float:
    lefts_s = [left_s for each in requests if (left_s := each.left_s) is not None]
    return max(0.001, min(lefts_s, default=math.inf))


def _requeue(queue: str, claims: Sequence[Claimed]) -> QueueRequest:
    return QueueRequest("settle", queue, [ending(Requeue(claimed, counts=False), 0) for claimed in claims])


def _cause(lost: Lost) -> BaseException:
    return lost.cause if isinstance(lost.cause, BaseException) else lost


def _sent_away(request: QueueRequest, away: SdpatternsError) -> SdpatternsError:
    request.fail(away)
    return away


def _groups(requests: Sequence[QueueRequest]) -> Iterator[list[QueueRequest]]:
    """Those of one verb and queue together, as long as they are not too much for one statement."""
    by_name: dict[tuple[str, str], list[QueueRequest]] = {}
    for request in requests:
        by_name.setdefault((request.verb, request.queue), []).append(request)
    for (verb, _), group in by_name.items():
        if verb not in {"publish", "settle", "extend"}:
            yield from ([request] for request in group)
            continue
        part: list[QueueRequest] = []
        items = size = 0
        for request in group:
            weight = sum([len(item.payload or b"") for item in request.items]) if verb != "extend" else 0
            if part and (items + len(request.items) > _ITEMS_MAX or size + weight > _BYTES_MAX):
                yield part
                part, items, size = [], 0, 0
            part.append(request)
            items += len(request.items)
            size += weight
        yield part
