"""How the requests to queues become units: see `engine.flushes`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from sdpatterns.backends.sqlalchemy.engine.connections import Connections
from sdpatterns.backends.sqlalchemy.engine.flushes import Flushes, InThread, parts
from sdpatterns.backends.sqlalchemy.engine.requests import RequestUnit, VerbRequest, VerbTable
from sdpatterns.backends.sqlalchemy.engine.texts import given_text
from sdpatterns.backends.sqlalchemy.messages.rows import ending
from sdpatterns.backends.sqlalchemy.messages.verbs import READS
from sdpatterns.ports.queue import Claimed, Requeue, topic_of

__all__ = ["MessageFlushes", "message_unit"]


def message_unit(table: VerbTable, requests: Sequence[VerbRequest], wait_max_s: float) -> RequestUnit:
    """Requests of one verb to one queue as one unit."""
    verb, name = requests[0].verb, requests[0].name
    # A claim makes nothing due.
    news = () if verb == "claim" else (topic_of(given_text(name)),)
    return RequestUnit(table, requests, wait_max_s, reads=verb in READS, news=news)


class MessageFlushes(Flushes):
    """See `Flushes`: where goes what is asked of queues."""

    _held = "another transaction holds the message or publishes to its key: end it"

    def __init__(
        self, connections: Connections, table: VerbTable, *, threads: bool, in_thread: InThread | None = None
    ) -> None:
        super().__init__(connections, threads=threads, in_thread=in_thread)
        self._table = table
        self._threads = threads
        self._tasks: set[asyncio.Future[None]] = set()

    def settle_soon(self, queue: str, claims: Sequence[Claimed]) -> None:
        """Give these claims back without waiting for that."""
        if claims and not self._threads:
            task = asyncio.ensure_future(self.run(_requeue(queue, claims)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _give_back(self, request: VerbRequest) -> None:
        # What a claim took for a caller that is gone must not wait for the end of its lease.
        self.settle_soon(request.name, _claims_of(request))

    async def _see_to(self, request: VerbRequest) -> None:
        claims = _claims_of(request)
        if claims:
            await self._carry([_requeue(request.name, claims)], apart=False)

    def _unit(self, requests: Sequence[VerbRequest], wait_max_s: float) -> RequestUnit:
        return message_unit(self._table, requests, wait_max_s)

    def _answer(self, request: VerbRequest, answers: Sequence[Any]) -> None:
        if request.in_doubt and False in answers:
            # Perhaps because the attempt whose reply was lost did it. Nobody can tell any more.
            request.fail(self._unknown(ConnectionError("a repeat found it done, or done by another client")))
        else:
            request.end(answers)

    def _groups(self, requests: Sequence[VerbRequest]) -> Iterator[list[VerbRequest]]:
        by_name: dict[tuple[str, str], list[VerbRequest]] = {}
        for request in requests:
            by_name.setdefault((request.verb, request.name), []).append(request)
        for (verb, _), group in by_name.items():
            if verb in {"publish", "settle"}:
                yield from parts(group, _bytes_of)
            elif verb == "extend":
                yield from parts(group, lambda _: 0)
            else:
                yield from ([request] for request in group)


def _bytes_of(item: Any) -> int:
    return len(item.payload or b"")


def _claims_of(request: VerbRequest) -> list[Claimed]:
    if request.verb != "claim":
        return []
    return [claimed for taken in request.answers for claimed in taken.messages]


def _requeue(queue: str, claims: Sequence[Claimed]) -> VerbRequest:
    return VerbRequest("settle", queue, [ending(Requeue(claimed, counts=False), 0) for claimed in claims])
