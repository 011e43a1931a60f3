"""Logs in three tables: `sdp_events`, `sdp_streams` for their versions, and `sdp_logs` for what was trimmed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from sdpatterns.backends.sqlalchemy.engine.requests import VerbRequest
from sdpatterns.backends.sqlalchemy.engine.texts import stored_text
from sdpatterns.backends.sqlalchemy.events.rows import (
    Cut,
    Dropping,
    OtherVersion,
    PageFound,
    PageOrder,
    StreamFound,
    StreamOrder,
    append_of,
    found_in_log,
    found_in_stream,
)
from sdpatterns.backends.sqlalchemy.events.verbs import READS, Verb
from sdpatterns.backends.sqlalchemy.resources import SQLResources
from sdpatterns.core.ranges import whole
from sdpatterns.core.runtime import Runtime
from sdpatterns.errors import EventsTrimmed, VersionConflict
from sdpatterns.ports.log import (
    ANY,
    LIMIT,
    Appended,
    Expected,
    LogHead,
    LogPage,
    LogSettings,
    NewEvent,
    StreamPage,
    check_append,
    check_read,
    log_topic_of,
)
from sdpatterns.ports.log_subscription import LogSubscription
from sdpatterns.ports.signals import SignalBus

__all__ = ["DEFAULT_LOG", "SQLLog", "StoredLog"]

DEFAULT_LOG = LogSettings()

_DROPPED_AT_ONCE = 500


class StoredLog(ABC):
    """What a log asks for, for `SQLLog`, and for `ViewLog` in a transaction of the caller's."""

    runtime: Runtime | None

    def __init__(self, name: str, settings: LogSettings) -> None:
        self.name = name
        self.topic = log_topic_of(name)
        self.settings = settings
        self._stored = stored_text(name)

    @abstractmethod
    async def _carry(self, request: VerbRequest) -> None:
        """Have the request done. Raises what it ended with."""

    async def _ask(self, verb: Verb, item: Any, *, is_harmless: bool = True) -> Any:
        request = VerbRequest(verb, self._stored, [item], is_harmless=is_harmless)
        await self._carry(request)
        [answer] = request.answers
        return answer

    async def append(self, stream: str, expected: Expected, events: Sequence[NewEvent], /) -> Appended:
        check_append(stream, expected, events, self.settings)
        # With a version, a repeat is recognised by the events' ids.
        item = append_of(stream, expected, events)
        answer: Appended | OtherVersion = await self._ask("append", item, is_harmless=expected is not ANY)
        if isinstance(answer, OtherVersion):
            raise VersionConflict(self.name, stream, item.expected, answer.found)
        return answer

    async def read(self, stream: str, /, after: int = 0, limit: int = LIMIT, *, backwards: bool = False) -> StreamPage:
        check_read(after, limit)
        found: StreamFound = await self._ask("read", StreamOrder(stored_text(stream), after, limit, backwards))
        events = found_in_stream(stream, found.rows)
        if not backwards and after < found.version:
            first = events[0].version if events else found.version + 1
            # Versions have no gaps: what is missing was dropped.
            if first > after + 1:
                raise EventsTrimmed(self.name, stream, after, first - 1)
        return StreamPage(events, found.version)

    async def head(self) -> LogHead:
        found: PageFound = await self._ask("page", PageOrder(0, 0, 0))
        return LogHead(found.head, found.trimmed, found.thinned)


class SQLLog(StoredLog):
    """Keeps events in a SQL database, for all processes that use it: see `EventLog`.

    `events_max` does not apply: the disk is the limit. On Postgres all logs of a database draw their positions from
    one sequence, so they have gaps.

    **Costs**: on SQLite one hop to the writer's thread and one transaction for what all callers of a loop turn append;
    on Postgres one statement for it. A page is one statement, two where new events came since the last page.
    `docs/backends/sql.md` has the rest.
    """

    def __init__(
        self,
        name: str,
        settings: LogSettings,
        runtime: Runtime,
        here: Callable[[], SQLResources],
        signals: SignalBus,
    ) -> None:
        super().__init__(name, settings)
        self.runtime: Runtime | None = runtime
        self._here = here
        self._signals = signals
        # Up to this position all that will ever be there is there, as a look before has shown.
        self._safe = 0

    async def _carry(self, request: VerbRequest) -> None:
        here = self._here()
        await (here.log_reads if request.verb in READS else here.log_writes).carry(request)

    async def read_all(self, after: int = 0, limit: int = LIMIT, /) -> LogPage:
        check_read(after, limit)
        page = await self._page(after, limit)
        # What is safe is known for the next look only, because a look sees the events of a moment before.
        if page.is_more and not page.events:
            page = await self._page(after, limit)
        return page

    async def _page(self, after: int, limit: int) -> LogPage:
        found: PageFound = await self._ask("page", PageOrder(after, self._safe, limit))
        self._safe = found.safe
        if after < found.trimmed:
            raise EventsTrimmed(self.name, "", after, found.trimmed)
        events = found_in_log(found.rows)
        is_full = len(events) == limit
        position = events[-1].position if is_full else max(after, found.upto)
        is_more = is_full or position < found.safe
        held_s = None if is_more or found.open_us is None else max(0, found.open_us) / 1e6
        return LogPage(events, position, max(position, found.head), is_more, held_s, found.thinned)

    async def trim(self, before: int, /) -> int:
        whole("before", before, 0)
        return await self._drop(Cut(None, before - 1))

    async def trim_stream(self, stream: str, before: int, /) -> int:
        whole("before", before, 0)
        return await self._drop(Cut(stored_text(stream), before - 1))

    async def _drop(self, cut: Cut) -> int:
        # The mark first, so that no reader finds half of it gone and does not know.
        upto: int = await self._ask("mark", cut)
        dropped, part = 0, _DROPPED_AT_ONCE
        while part == _DROPPED_AT_ONCE and upto > 0:
            part = await self._ask("drop", Dropping(cut.stream, upto, _DROPPED_AT_ONCE))
            dropped += part
        return dropped

    def subscribe(self, after: int = 0, /) -> LogSubscription:
        return LogSubscription(self, self._signals, after)
