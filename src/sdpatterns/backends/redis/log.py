"""Logs of events on Redis: one stream of all events under one hash tag, and one for the places of each stream's."""

from __future__ import annotations

import functools
from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from sdpatterns.backends.redis.events.scripts import LogKeys, LogVerb, log_script
from sdpatterns.backends.redis.failures import Lost
from sdpatterns.backends.redis.messages.packing import body_of, opened_body
from sdpatterns.backends.redis.resources import RedisLoopResources, RedisResources
from sdpatterns.core.keys import check_name
from sdpatterns.core.ranges import whole
from sdpatterns.core.runtime import Runtime
from sdpatterns.core.tracing import TRACERS, stepped_in_span
from sdpatterns.errors import EventsTrimmed, VersionConflict
from sdpatterns.ports.engine.failures import repeat
from sdpatterns.ports.log import (
    ANY,
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

__all__ = ["RedisLog"]

_AT_ONCE = 500
"""A script runs alone on its server, so that a long page is several calls."""
_EVENT_WORDS = 7

Words = list[str | bytes]


class _Part(NamedTuple):
    """What one caller adds to a call of the script: its stream's key, and its words."""

    key: bytes
    words: Words
    events: int


class RedisLog:
    """See `EventLog`. What many callers of one turn append travels in one call of a script.

    Positions have no gaps. Costs: one round trip for each call, one more for each 500 events of a page. On the server
    an event takes its data, its id, its type, the name of its stream and about 60 bytes. All of a log is on one node of
    a cluster: split a log that outgrows it by a hash of the stream.
    """

    def __init__(self, resources: RedisResources, name: str, settings: LogSettings, signals: SignalBus) -> None:
        self.name = check_name("a log", name)
        self.runtime: Runtime | None = resources.server.runtime
        self.topic = log_topic_of(name)
        self._settings = settings
        self._signals = signals
        self._resources = resources
        self._keys = LogKeys(resources.server.prefix, name)
        channel, mark, fragment = self.topic.partition("#")
        self._signal = (resources.server.channel + channel, mark + fragment)
        resources.durability.relied_on_by(f"log {name!r}")

    async def append(self, stream: str, expected: Expected, events: Sequence[NewEvent], /) -> Appended:
        check_append(stream, expected, events, self._settings)
        wanted = -1 if expected is ANY else expected
        words: Words = [stream, b"%d" % wanted, b"%d" % len(events)]
        for event in events:
            words += (event.id, event.type, body_of(event.data, event.metadata))
        here = self._resources.here()

        async def work(parts: Sequence[_Part]) -> Sequence[Any]:
            return await self._append(here, parts, harmless=wanted >= 0)

        part = _Part(self._keys.of(stream), words, len(events))
        # Those of any version apart, because a second attempt of theirs would append again.
        line = here.lines.run((self, wanted < 0), part, work)
        is_there, version, position = await self._answered("append", here, line)
        if not is_there:
            raise VersionConflict(self.name, stream, wanted, version)
        return Appended(version, position)

    async def _append(self, here: RedisLoopResources, parts: Sequence[_Part], *, harmless: bool) -> Sequence[Any]:
        results: list[Any] = []
        for some in _split(parts):
            keys = [*self._keys.whole, *(part.key for part in some)]
            args = [self._resources.shift_us, *self._signal, *(word for part in some for word in part.words)]
            try:
                found = await self._run(here, "append", keys, args, harmless=harmless)
            except (Lost, ResponseError) as error:
                if not results:
                    raise
                return results + [error] * (len(parts) - len(results))
            results += [found[at : at + 3] for at in range(0, len(found), 3)]
        return results

    async def read(self, stream: str, /, after: int = 0, limit: int = LIMIT, *, backwards: bool = False) -> StreamPage:
        check_read(after, limit)
        keys, events, place = [*self._keys.whole, self._keys.of(stream)], list[RecordedEvent](), after
        while True:
            n = min(limit - len(events), _AT_ONCE)
            version, *rest = await self._called("read", keys, [stream, b"%d" % place, b"%d" % n, b"%d" % backwards])
            found = _events(rest)
            if not backwards and place < version:
                first = found[0].version if found else version + 1
                # Versions have no gaps: what is missing was dropped.
                if first > place + 1:
                    raise EventsTrimmed(self.name, stream, place, first - 1)
            events += found
            if len(found) < n or len(events) == limit or events[-1].version == (1 if backwards else version):
                return StreamPage(events, version)
            place = events[-1].version

    async def read_all(self, after: int = 0, limit: int = LIMIT, /) -> LogPage:
        check_read(after, limit)
        events, place = list[RecordedEvent](), after
        while True:
            n = min(limit - len(events), _AT_ONCE)
            head, trimmed, thinned, *rest = await self._called("page", self._keys.whole, [b"%d" % place, b"%d" % n])
            if place < trimmed:
                raise EventsTrimmed(self.name, "", place, trimmed)
            found = _events(rest)
            events += found
            place = found[-1].position if len(found) == n else max(place, head)
            if len(found) < n or len(events) == limit:
                return LogPage(events, place, max(place, head), place < head, None, thinned)

    async def head(self) -> LogHead:
        return LogHead(*await self._called("page", self._keys.whole, [b"0", b"0"]))

    async def trim(self, before: int, /) -> int:
        whole("before", before, 0)
        # The mark first, so that no reader finds half of it gone and does not know.
        upto = await self._called("mark", self._keys.whole, [b"%d" % max(0, before - 1)])
        dropped = 0
        while True:
            oldest = await self._called("oldest", self._keys.whole, [b"%d" % upto, b"%d" % _AT_ONCE])
            if not oldest:
                return dropped
            versions = dict(zip(oldest[1::3], oldest[2::3], strict=True))
            keys = [*self._keys.whole, *map(self._keys.of, versions)]
            dropped += await self._called(
                "drop", keys, [b"%d" % oldest[-3], *(b"%d" % each for each in versions.values())]
            )

    async def trim_stream(self, stream: str, before: int, /) -> int:
        whole("before", before, 0)
        keys, dropped, part = [*self._keys.whole, self._keys.of(stream)], 0, _AT_ONCE
        while part == _AT_ONCE:
            part = await self._called("thin", keys, [b"%d" % max(0, before - 1), b"%d" % _AT_ONCE])
            dropped += part
        return dropped

    def subscribe(self, after: int = 0, /) -> LogSubscription:
        return LogSubscription(self, self._signals, after)

    async def _called(self, verb: LogVerb, keys: Sequence[bytes], args: Sequence[str | bytes]) -> Any:
        here = self._resources.here()
        return await self._answered(verb, here, self._run(here, verb, keys, args))

    async def _answered(self, verb: LogVerb, here: RedisLoopResources, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            answer = await (stepped_in_span(verb, self.name, self._resources.server.facts, work) if TRACERS else work)
        except (Lost, ResponseError) as error:
            raise self._resources.server.failure(error, f"the script log-{verb} failed") from error
        if self._resources.durability.is_due:
            await self._resources.durability.ask(here.seed)
        return answer

    async def _run(
        self,
        here: RedisLoopResources,
        verb: LogVerb,
        keys: Sequence[bytes],
        args: Sequence[str | bytes],
        *,
        harmless: bool = True,
    ) -> Any:
        script, leaves_doubt = log_script(verb), verb not in {"read", "page", "oldest"}
        try:
            return await script.run(here.sender, keys, args)
        except Lost as lost:
            again = functools.partial(script.run, here.sender, keys, args)
            return await repeat(lost, again, harmless=harmless, leaves_doubt=leaves_doubt)


def _split(parts: Sequence[_Part]) -> Sequence[Sequence[_Part]]:
    """In their order, so many together that the server is not held up for long. A caller's part stays whole."""
    groups: list[list[_Part]] = [[]]
    size = 0
    for part in parts:
        if groups[-1] and size + part.events > _AT_ONCE:
            groups.append([])
            size = 0
        groups[-1].append(part)
        size += part.events
    return groups


def _events(words: Sequence[Any]) -> list[RecordedEvent]:
    """From position, stream, version, id, type, recorded and body of each."""
    events = []
    for at in range(0, len(words), _EVENT_WORDS):
        position, stream, version, name, kind, recorded_us, body = words[at : at + _EVENT_WORDS]
        data, metadata = opened_body(body)
        events.append(
            RecordedEvent(
                stream.decode(), int(version), position, name.decode(), kind.decode(), data, metadata, int(recorded_us)
            )
        )
    return events
