"""Events that are handed to an archive before they are dropped: written once, over what every log can do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from sdpatterns.core.asking import asked
from sdpatterns.core.judging import callable_of
from sdpatterns.core.ranges import whole
from sdpatterns.core.runtime import Runtime
from sdpatterns.errors import EventsTrimmed
from sdpatterns.ports.log import LIMIT, LIMIT_MAX, EventLog, RecordedEvent

__all__ = ["LogArchive"]


class LogArchive:
    """Trims a log, and gives each event to a function of yours first.

    ```python
    archive = LogArchive(backend.log("orders"), write_to_bucket)
    await archive.trim(position)
    ```
    `keep` gets up to `limit` events at a time, in the order of the log or of the stream. It may be async.

    **Keeps**: no event is dropped before `keep` has returned. After a crash, or beside another archive, it may get
    events again. **May fail** with what `keep` raises, and then drops nothing more; else as the log does. **Costs**:
    a read, a call of `keep` and a trim for each `limit` events.
    """

    def __init__(
        self,
        log: EventLog,
        keep: Callable[[Sequence[RecordedEvent]], Awaitable[object] | object],
        *,
        limit: int = LIMIT,
    ) -> None:
        self._log = log
        self._keep = callable_of("keep", keep)
        self._limit = whole("limit", limit, 1, LIMIT_MAX)

    @property
    def runtime(self) -> Runtime | None:
        """That of its log."""
        return self._log.runtime

    async def trim(self, before: int, /) -> int:
        """Archive and drop the events whose position is below `before`; how many. See `EventLog.trim`."""
        whole("before", before, 0)
        after, dropped = (await self._log.head()).trimmed, 0
        while True:
            page = await self._log.read_all(after, self._limit)
            # No further than was read: more may have become readable meanwhile.
            cut = min(before, page.position + 1)
            await self._put_away([event for event in page.events if event.position < cut])
            dropped += await self._log.trim(cut)
            if cut == before or not page.is_more:
                return dropped
            after = page.position

    async def trim_stream(self, stream: str, before: int, /) -> int:
        """Archive and drop the events of one stream whose version is below `before`; how many."""
        whole("before", before, 0)
        after = dropped = 0
        while True:
            try:
                page = await self._log.read(stream, after, self._limit)
            except EventsTrimmed as gone:
                after = gone.trimmed
                continue
            events = [event for event in page.events if event.version < before]
            if not events:
                return dropped
            await self._put_away(events)
            after = events[-1].version
            dropped += await self._log.trim_stream(stream, after + 1)

    async def _put_away(self, events: Sequence[RecordedEvent]) -> None:
        if events:
            await asked(self._keep(events))
