"""How the requests to logs become units: see `engine.flushes`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sdpatterns.backends.sqlalchemy.engine.connections import Connections
from sdpatterns.backends.sqlalchemy.engine.flushes import Flushes, InThread, parts
from sdpatterns.backends.sqlalchemy.engine.requests import RequestUnit, VerbRequest, VerbTable
from sdpatterns.backends.sqlalchemy.engine.texts import given_text
from sdpatterns.backends.sqlalchemy.events.rows import Append, StreamHeld
from sdpatterns.backends.sqlalchemy.events.verbs import READS
from sdpatterns.ports.log import log_topic_of

__all__ = ["EventFlushes", "event_unit"]


def event_unit(table: VerbTable, requests: Sequence[VerbRequest], wait_max_s: float) -> RequestUnit:
    """Requests of one verb to one log as one unit."""
    verb, name = requests[0].verb, requests[0].name
    news = (log_topic_of(given_text(name)),) if verb == "append" else ()
    return RequestUnit(table, requests, wait_max_s, reads=verb in READS, news=news)


class EventFlushes(Flushes):
    """See `Flushes`: where goes what is asked of logs."""

    _held = "another transaction writes to the stream: end it"

    def __init__(
        self, connections: Connections, table: VerbTable, *, threads: bool, in_thread: InThread | None = None
    ) -> None:
        super().__init__(connections, threads=threads, in_thread=in_thread)
        self._table = table

    def _give_back(self, request: VerbRequest) -> None:
        """Nothing: an append that happened stays."""

    async def _see_to(self, request: VerbRequest) -> None:
        """Nothing, as well."""

    def _unit(self, requests: Sequence[VerbRequest], wait_max_s: float) -> RequestUnit:
        return event_unit(self._table, requests, wait_max_s)

    def _answer(self, request: VerbRequest, answers: Sequence[Any]) -> None:
        if any(isinstance(answer, StreamHeld) for answer in answers):
            request.hold(self._held)
        else:
            request.end(answers)

    def _groups(self, requests: Sequence[VerbRequest]) -> Iterator[Sequence[VerbRequest]]:
        if len(requests) == 1:
            yield requests
            return
        appends: dict[str, list[VerbRequest]] = {}
        for request in requests:
            if request.verb == "append":
                appends.setdefault(request.name, []).append(request)
            else:
                yield [request]
        for group in appends.values():
            yield from parts(group, _bytes_of)


def _bytes_of(item: Append) -> int:
    return sum(map(len, item.data))
