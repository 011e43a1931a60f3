"""Reading a log's stream in JetStream, and the few messages that say what was dropped of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from nats.aio.msg import Msg

from sdpatterns.backends.nats.connection import EXPECTED, Call, NatsConnection
from sdpatterns.backends.nats.events.form import (
    BEGIN,
    EVENT,
    MARK,
    Dropped,
    EventPlace,
    dropped_in,
    event_in,
    mark_of,
    place_in,
)
from sdpatterns.backends.nats.server import NatsServer, answered, word_of
from sdpatterns.backends.nats.stored import (
    Stored,
    info_call,
    last_call,
    make_stream,
    page_call,
    pending_in,
    stored_in,
    told_in,
)
from sdpatterns.core.runtime import ASYNCIO
from sdpatterns.ports.engine.failures import Lost, repeat
from sdpatterns.ports.engine.looped import Looped
from sdpatterns.ports.log import EVENTS_AT_ONCE_MAX, RecordedEvent

__all__ = ["AT_ONCE", "LogStream"]

AT_ONCE: Final = EVENTS_AT_ONCE_MAX
"""Messages of one round; a server takes no larger batch."""
_PROBES: Final = 16
_PLACES_MAX: Final = 16_384
_REPLICA_BEHIND_S: Final = 0.005


class _Places(dict[str, EventPlace]):
    """A place in each of the streams that were used last."""

    def note(self, stream: str, place: EventPlace) -> None:
        self.pop(stream, None)
        if len(self) >= _PLACES_MAX:
            del self[next(iter(self))]
        self[stream] = place


class Between(NamedTuple):
    """Events of a stream, its version, and the first version that is kept of those that were asked for or later."""

    events: Sequence[RecordedEvent]
    version: int
    kept_from: int


class LogStream:
    """The stream of one log. `ends` has the last place of streams, as far as this process has seen."""

    def __init__(self, server: NatsServer, name: str, here: Callable[[], Looped[NatsConnection]]) -> None:
        self.server = server
        self.name = name
        self.here = here
        self.ends = _Places()
        self._reads = _Places()
        self._stream, self._subject = server.log(name)
        self._is_made = False

    def subject(self, stream: str, end: str) -> str:
        """That of a stream's events or mark, or with `.*` of both."""
        return f"{self._subject}.{word_of(stream)}{end}"

    async def ask(self, calls: Sequence[Call]) -> Sequence[Msg]:
        """The answers to what is harmless to ask twice."""
        connection = self.here().connection
        try:
            await self.made()
            return await connection.call_all(calls)
        except Lost as lost:
            return await repeat(lost, lambda: connection.call_all(calls), leaves_doubt=False)

    async def made(self) -> None:
        """See that the stream is there: once for each process."""
        if not self._is_made:
            await make_stream(self.server, self.here().connection, self.server.log_stream(self.name))
            self._is_made = True

    async def _ask_in_turn(self, calls: Sequence[Call]) -> Sequence[Msg]:
        """The same, where an answer must not be older than those before."""
        if self.server.replicas == 1:
            return await self.ask(calls)  # one server, one connection: it answers in order
        return [answer for call in calls for answer in await self.ask([call])]

    async def page(self, begin: int, count: int) -> tuple[Sequence[Stored], bool, Dropped, int]:
        """Messages from a position on, whether there are more, what had been dropped by then, and the last position."""
        into: list[Msg] = []
        calls = [page_call(self._stream, begin, count, into), self._last(self._subject), info_call(self._stream)]
        end, mark, info = await self._ask_in_turn(calls)
        last: int = answered(self.server, info)["state"]["last_seq"]
        return _stored(into), pending_in(end) > 0, dropped_in(stored_in(self.server, mark)), last

    async def events_upto(self, begin: int, cut: int) -> Sequence[RecordedEvent]:
        """Events from a position on and up to another, as many as one round gives."""
        into: list[Msg] = []
        await self.ask([page_call(self._stream, begin, AT_ONCE, into, f"{self._subject}.*{EVENT}")])
        return [event_in(each) for each in _stored(into) if each.sequence <= cut]

    def _last(self, subject: str) -> Call:
        return last_call(self.server, self._stream, subject)

    async def end(self, stream: str) -> EventPlace:
        """The last place of a stream of events."""
        [last] = await self.ask([self._last(self.subject(stream, ".*"))])
        return self._noted(stream, last)

    def _noted(self, stream: str, last: Msg) -> EventPlace:
        end = place_in(stored_in(self.server, last))
        self.ends.note(stream, end)
        return end

    async def between(self, stream: str, first: int, last: int) -> Between:
        """The events of a stream between two versions, both included."""
        place, events, behind = await self._place_before(stream, first), list[RecordedEvent](), 0
        while True:
            into: list[Msg] = []
            count = max(1, min(AT_ONCE, last - place.version))
            page = page_call(self._stream, place.position + 1, count, into, self.subject(stream, EVENT))
            newest, page_end = await self._ask_in_turn([self._last(self.subject(stream, ".*")), page])
            end, found = self._noted(stream, newest), [event_in(each) for each in _stored(into)]
            events += [each for each in found if first <= each.version <= last]
            behind = behind or next((each.version for each in found if each.version >= first), 0)
            if found:
                place = EventPlace(found[-1].version, found[-1].position)
                self._reads.note(stream, place)
            is_end = pending_in(page_end) == 0 and (end.is_mark or place.position >= end.position)
            if place.version >= last or is_end:
                version = max(end.version, place.version)
                return Between(events, version, behind or version + 1)
            if pending_in(page_end):
                continue
            # What is read directly may come from a replica that has not got the last event yet.
            await ASYNCIO.sleep(_REPLICA_BEHIND_S)

    async def _place_before(self, stream: str, version: int) -> EventPlace:
        """A place before a version and not far from it."""
        seen = self._reads.get(stream, BEGIN)
        low = seen if seen.version < version else BEGIN
        if version - low.version <= AT_ONCE:
            return low
        high = (await self.end(stream)).position
        while version - low.version > AT_ONCE and high - low.position > AT_ONCE:
            step = (high - low.position) // _PROBES
            for at, found in await self._probe(stream, range(low.position + step, high, step)):
                if found is not None and found.version < version:
                    low = found
                else:
                    high = at
                    break
        return low

    async def _probe(self, stream: str, positions: Sequence[int]) -> Sequence[tuple[int, EventPlace | None]]:
        """The next place of the stream from each of the positions on."""
        ask, subject = f"$JS.API.DIRECT.GET.{self._stream}", self.subject(stream, EVENT)
        words = [json.dumps({"seq": at, "next_by_subj": subject}).encode() for at in positions]
        told = [told_in(answer) for answer in await self.ask([Call(ask, each) for each in words])]
        return [(at, each and place_in(each)) for at, each in zip(positions, told, strict=True)]

    async def state(self) -> tuple[Dropped, int]:
        """What was dropped, and the last position."""
        mark, info = await self.ask([self._last(self._subject), info_call(self._stream)])
        return dropped_in(stored_in(self.server, mark)), answered(self.server, info)["state"]["last_seq"]

    async def note_dropped(self, trimmed: int = 0, thinned: int = 0) -> None:
        """Say up to where events are dropped, before they are."""
        while True:
            old, _ = await self.state()
            new = (max(old.trimmed, trimmed), max(old.thinned, thinned))
            if new == old[:2] or await self._wrote(Call(self._subject, mark_of(*new)), old.sequence):
                return

    async def marked(self, stream: str, end: EventPlace) -> bool:
        """Keep the version of a stream whose events are to be dropped; False where it has a later one."""
        mark = Call(self.subject(stream, MARK), mark_of(end.version))
        return await self._wrote(mark, end.position, self.subject(stream, ".*"))

    async def _wrote(self, call: Call, expected: int, subject: str = "") -> bool:
        headers = {EXPECTED: str(expected), "Nats-Rollup": "sub"}
        if subject:
            headers[f"{EXPECTED}-Subject"] = subject
        [said] = await self.ask([call._replace(headers=headers)])
        return "error" not in answered(self.server, said)

    async def purge(self, subject: str, upto: int) -> int:
        """Drop the messages of subjects up to a position; how many."""
        words = json.dumps({"filter": subject, "seq": upto + 1}).encode()
        [said] = await self.ask([Call(f"$JS.API.STREAM.PURGE.{self._stream}", words)])
        purged: int = answered(self.server, said)["purged"]
        return purged

    @property
    def all_events(self) -> str:
        """The subject of the events of all streams."""
        return f"{self._subject}.*{EVENT}"


def _stored(messages: Sequence[Msg]) -> list[Stored]:
    return [each for message in messages if (each := told_in(message)) is not None]
