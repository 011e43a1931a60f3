"""How the requests of many callers become one unit on a connection: see `sdpatterns.ports.engine.batcher`.

```
requests that wait --> one unit for each verb and name --> the answers, each to its caller
                       | the reply was lost: once more, where a second time does no harm
                       | another client holds what it needs: alone, on a connection where it may wait
```
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeAlias

from sdpatterns.backends.sqlalchemy.engine.connections import Connections
from sdpatterns.backends.sqlalchemy.engine.failures import lost_reply, unavailable
from sdpatterns.backends.sqlalchemy.engine.judging import judge_failure
from sdpatterns.backends.sqlalchemy.engine.requests import RequestUnit, VerbRequest
from sdpatterns.core import clock
from sdpatterns.core.runtime import current, finish
from sdpatterns.errors import BackendUnavailable, SdpatternsError
from sdpatterns.ports.engine.batcher import Batcher, TaskBatcher, ThreadBatcher
from sdpatterns.ports.engine.failures import Lost, NotSent, ReplyLost, may_repeat

__all__ = ["Flushes", "InThread", "parts"]

_REQUESTS_MAX = 256
_ITEMS_MAX = 2048
_BYTES_MAX = 4_194_304
"""What goes together in one statement, unless one caller alone brings more."""

_PAUSE_S = 0.01

InThread: TypeAlias = Callable[[Callable[[], Any]], Awaitable[Any]]


class Flushes(ABC):
    """Takes requests and ends them: each has its answers, its error, or is held up by another client.

    `in_thread` runs a function in the thread that owns the file, on SQLite.
    """

    _held: str
    """What to say where another client is in the way."""

    def __init__(self, connections: Connections, *, threads: bool, in_thread: InThread | None = None) -> None:
        self._connections = connections
        self._in_thread = in_thread
        self._batcher: Batcher[VerbRequest, None] = (
            ThreadBatcher(self._together, at_most=_REQUESTS_MAX)
            if threads
            else TaskBatcher(self._together, at_most=_REQUESTS_MAX, alone="in a task")
        )

    @property
    def waiting(self) -> int:
        """How many requests wait for the next flush."""
        return self._batcher.waiting

    async def run(self, request: VerbRequest) -> None:
        """With whatever else waits."""
        try:
            await self._batcher.run(request)
        except InterruptedError:
            # The thread that led was interrupted; what became of this request stands in it.
            if not request.is_done:
                raise

    async def run_apart(self, request: VerbRequest) -> None:
        """Alone, where it may wait for what others hold."""
        await self._carry([request], apart=True)

    async def carry(self, request: VerbRequest) -> None:
        """Have it done, also behind other clients. Raises what it ended with."""
        apart = False
        while True:
            try:
                await (self.run_apart(request) if apart else self.run(request))
            except BaseException:
                request.is_abandoned = True
                # Else the flush that carries it out sees that.
                if request.is_done:
                    self._give_back(request)
                raise
            if request.error is not None:
                raise request.error
            if not request.held:
                return
            if request.left_s is not None and request.left_s <= 0:
                shown = self._connections.shown
                raise BackendUnavailable(f"{shown}: the deadline has passed and nothing was done: {request.held}")
            if apart:
                await current().sleep(_PAUSE_S)
            request.renew()
            apart = True

    @abstractmethod
    def _unit(self, requests: Sequence[VerbRequest], wait_max_s: float) -> RequestUnit:
        """The requests of one group as one unit."""

    @abstractmethod
    def _groups(self, requests: Sequence[VerbRequest]) -> Iterable[Sequence[VerbRequest]]:
        """Those of one verb and name together, as long as they are not too much for one statement."""

    @abstractmethod
    def _give_back(self, request: VerbRequest) -> None:
        """What is to be done where a request is done and its caller is gone."""

    @abstractmethod
    async def _see_to(self, request: VerbRequest) -> None:
        """The same within the flush that carried it out."""

    async def _together(self, requests: Sequence[VerbRequest]) -> Sequence[None]:
        late = await self._carry(requests, apart=False)
        for request in requests:
            if request.is_abandoned:
                await self._see_to(request)
        if late is not None:
            # Those who wait behind it would wait for as long again.
            self._batcher.send_away(lambda request: _sent_away(request, unavailable(self._connections.shown, late)))
        return [None] * len(requests)

    async def _carry(self, requests: Sequence[VerbRequest], *, apart: bool) -> BaseException | None:
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

    async def _each(self, requests: Sequence[VerbRequest], *, apart: bool) -> BaseException | None:
        """One unit after another; what went wrong where the database did not answer in time."""
        late: BaseException | None = None
        try:
            for group in self._groups(requests):
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

    async def _try(self, requests: Sequence[VerbRequest], *, apart: bool) -> BaseException | None:
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

    async def _one_by_one(self, requests: Sequence[VerbRequest], *, apart: bool) -> BaseException | None:
        for place, request in enumerate(requests):
            late = await self._try([request], apart=apart)
            if late is not None:
                for behind in requests[place + 1 :]:
                    behind.fail(unavailable(self._connections.shown, late))
                return late
        return None

    async def _attempt(self, requests: Sequence[VerbRequest], *, apart: bool) -> None:
        connections, began = self._connections, clock.SYSTEM.monotonic()
        unit = self._unit(requests, _wait_max_s(requests) if apart else 0.0)
        holder = self._held
        try:
            with connections.usage:
                await (connections.run_apart(unit) if apart else connections.run(unit))
        except Exception as error:  # noqa: BLE001 - judged, and raised unless another client holds what it needs
            holder = judge_failure(error, unit, connections, began) or self._held
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

    def _answer(self, request: VerbRequest, answers: Sequence[Any]) -> None:
        request.end(answers)

    def _is_sent_again(self, request: VerbRequest, lost: Lost, *, is_last: bool) -> bool:
        request.in_doubt = request.in_doubt or isinstance(lost, ReplyLost)
        if not is_last and may_repeat(lost, harmless=request.is_harmless, in_doubt=request.in_doubt):
            return True
        cause = _cause(lost)
        request.fail(self._unknown(cause) if request.in_doubt else unavailable(self._connections.shown, cause))
        return False

    def _unknown(self, cause: BaseException) -> SdpatternsError:
        return lost_reply(self._connections.shown, cause)


def _wait_max_s(requests: Sequence[VerbRequest]) -> float:
    lefts_s = [left_s for each in requests if (left_s := each.left_s) is not None]
    return max(0.001, min(lefts_s, default=math.inf))


def _cause(lost: Lost) -> BaseException:
    return lost.cause if isinstance(lost.cause, BaseException) else lost


def _sent_away(request: VerbRequest, away: SdpatternsError) -> SdpatternsError:
    request.fail(away)
    return away


def parts(requests: Sequence[VerbRequest], weigh: Callable[[Any], int]) -> Iterable[list[VerbRequest]]:
    """The requests in their order, in parts that are not too much for one statement. `weigh` says bytes of an item."""
    part: list[VerbRequest] = []
    items = size = 0
    for request in requests:
        weight = sum(map(weigh, request.items))
        if part and (items + len(request.items) > _ITEMS_MAX or size + weight > _BYTES_MAX):
            yield part
            part, items, size = [], 0, 0
        part.append(request)
        items += len(request.items)
        size += weight
    yield part
