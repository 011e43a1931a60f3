"""Logs of events in JetStream: a stream for each log, in it two subjects for each stream of events.

```
<prefix>.log.<log>               up to where events were dropped              one message
<prefix>.log.<log>.<stream>.e    the events                                   one message each
<prefix>.log.<log>.<stream>.m    the version of a stream without events       one message

append    to .e, if the last message of both subjects is still the one that was seen; several in one atomic batch
position  the message's sequence number, which the server gives in the order in which it stores
```
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import TypeVar

from sdpatterns.backends.nats.events.appends import Appending, Part
from sdpatterns.backends.nats.events.form import EVENT, EventPlace, event_in, is_event
from sdpatterns.backends.nats.events.reading import AT_ONCE, LogStream
from sdpatterns.backends.nats.server import told
from sdpatterns.core.ranges import whole
from sdpatterns.core.runtime import ASYNCIO, Runtime
from sdpatterns.errors import EventsTrimmed
from sdpatterns.ports.engine.failures import Lost
from sdpatterns.ports.log import (
    LIMIT,
    Appended,
    Expected,
    LogHead,
    LogPage,
    LogSettings,
    NewEvent,
    RecordedEvent,
    StreamPage,
    check_append,
    check_read,
    log_topic_of,
)
from sdpatterns.ports.log_subscription import LogSubscription
from sdpatterns.ports.signals import SignalBus

__all__ = ["NatsLog"]

T = TypeVar("T")


class NatsLog:
    """See `EventLog`. What several callers of one turn append to one stream travels in one batch.

    Positions have gaps where events were trimmed. Costs: one round trip for an append to a new stream, or to one whose
    end this process has seen, else two; two more for each race that is lost to another process; one for each 1,000
    events of a page, and a few to find a version in the middle of a stream of thousands. On the server an event takes
    its data, its id, its type, three times the name of its stream and about 250 bytes.
    """

    def __init__(self, log: LogStream, settings: LogSettings, shift_us: Callable[[], int], signals: SignalBus) -> None:
        self.name = log.name
        self.runtime: Runtime | None = ASYNCIO
        self.topic = log_topic_of(log.name)
        self._settings = settings
        self._shift_us = shift_us
        self._signals = signals
        self._log = log

    async def append(self, stream: str, expected: Expected, events: Sequence[NewEvent], /) -> Appended:
        check_append(stream, expected, events, self._settings)
        part = Part(expected, events, self._shift_us())

        async def work(parts: Sequence[Part]) -> Sequence[Appended | Exception]:
            answers = await Appending(self._log, stream, parts).answers()
            if any(isinstance(answer, Appended) for answer in answers):
                # They are stored: what fails now is a signal that was lost.
                with contextlib.suppress(Lost):
                    await self._log.here().connection.notify([self.topic])
            return answers

        return await told(self._log.server, self._log.here().lines.run((self._log, stream), part, work))

    async def read(self, stream: str, /, after: int = 0, limit: int = LIMIT, *, backwards: bool = False) -> StreamPage:
        check_read(after, limit)
        return await told(self._log.server, (self._backwards if backwards else self._forward)(stream, after, limit))

    async def _forward(self, stream: str, after: int, limit: int) -> StreamPage:
        events, version, kept_from = await self._log.between(stream, after + 1, after + limit)
        # Versions have no gaps: what is missing was dropped.
        if after < version and kept_from > after + 1:
            raise EventsTrimmed(self.name, stream, after, kept_from - 1)
        return StreamPage(events, version)

    async def _backwards(self, stream: str, after: int, limit: int) -> StreamPage:
        version = (await self._log.end(stream)).version
        last = min(after - 1, version) if after else version
        if last < 1:
            return StreamPage((), version)
        events, version, _ = await self._log.between(stream, max(1, last - limit + 1), last)
        return StreamPage(events[::-1], version)

    async def read_all(self, after: int = 0, limit: int = LIMIT, /) -> LogPage:
        check_read(after, limit)
        return await told(self._log.server, self._page(after, limit))

    async def _page(self, after: int, limit: int) -> LogPage:
        events, place = list[RecordedEvent](), after
        while True:
            found, is_more, dropped, last = await self._log.page(place + 1, min(limit - len(events), AT_ONCE))
            if place < dropped.trimmed:
                raise EventsTrimmed(self.name, "", place, dropped.trimmed)
            events += [event_in(each) for each in found if is_event(each)]
            place = found[-1].sequence if found else place
            if not is_more or len(events) == limit:
                return LogPage(events, place, max(place, last), is_more, None, dropped.thinned)

    async def head(self) -> LogHead:
        dropped, last = await told(self._log.server, self._log.state())
        return LogHead(last, dropped.trimmed, dropped.thinned)

    async def trim(self, before: int, /) -> int:
        whole("before", before, 0)
        return await told(self._log.server, self._trim(before))

    async def _trim(self, before: int) -> int:
        _, last = await self._log.state()
        cut, dropped, begin = min(before - 1, last), 0, 1
        if cut < 1:
            return 0
        await self._log.note_dropped(trimmed=cut)
        while events := await self._log.events_upto(begin, cut):
            # A stream that goes on behind these events needs no mark, and its last event is another one.
            for stream, end in {each.stream: EventPlace(each.version, each.position) for each in events}.items():
                await self._log.marked(stream, end)
            dropped += await self._log.purge(self._log.all_events, events[-1].position)
            begin = events[-1].position + 1
        return dropped

    async def trim_stream(self, stream: str, before: int, /) -> int:
        whole("before", before, 0)
        return await told(self._log.server, self._trim_stream(stream, before))

    async def _trim_stream(self, stream: str, before: int) -> int:
        while True:
            end = await self._log.end(stream)
            cut = min(before - 1, end.version)
            events = (await self._log.between(stream, cut, cut)).events if cut > 0 else []
            if not events:
                return 0
            if cut < end.version or await self._log.marked(stream, end):
                break
        await self._log.note_dropped(thinned=events[0].position)
        return await self._log.purge(self._log.subject(stream, EVENT), events[0].position)

    def subscribe(self, after: int = 0, /) -> LogSubscription:
        return LogSubscription(self, self._signals, after)
