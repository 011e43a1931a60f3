"""Adding events to a stream: those of several callers together, behind the version that was seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sdpatterns.backends.nats.connection import EXPECTED, Call, batch_of
from sdpatterns.backends.nats.events.form import BEGIN, EVENT, EventPlace, packed
from sdpatterns.backends.nats.events.reading import AT_ONCE, LogStream
from sdpatterns.backends.nats.server import answered
from sdpatterns.core.runtime import ASYNCIO
from sdpatterns.errors import VersionConflict
from sdpatterns.ports.engine.execute import Races
from sdpatterns.ports.engine.failures import Lost, NotSent, repeat
from sdpatterns.ports.engine.versioned import Conflict
from sdpatterns.ports.log import ANY, Appended, Expected, NewEvent

__all__ = ["Appending", "Part"]


class Part(NamedTuple):
    """What one caller appends, and the shift of the time for it."""

    expected: Expected
    events: Sequence[NewEvent]
    shift_us: int


class Appending:
    """Parts for one stream. An answer is where a part's last event stands, or the error its caller gets.

    ```
              ┌---------- another process wrote first: look at the end --------┐
              v                                                                |
    end seen ---> parts that suit it ---> one batch, if that is the end -------┤
              └-> none does: their events are there already, or a conflict     └--> answers
    ```
    """

    def __init__(self, log: LogStream, stream: str, parts: Sequence[Part]) -> None:
        self._log = log
        self._stream = stream
        self._parts = parts
        self._answers: dict[int, Appended | Exception] = {}
        self._races = Races()
        self._at_once = AT_ONCE
        # What expects a new stream need not look whether it is one: the server does.
        self._end = BEGIN if parts[0].expected == 0 else log.ends.get(stream)
        self._is_sure = False

    async def answers(self) -> Sequence[Appended | Exception]:
        """Those of all parts, in their order."""
        await self._log.made()
        while len(self._answers) < len(self._parts):
            if self._end is None:
                self._end, self._is_sure = await self._log.end(self._stream), True
            fitting = self._fitting(self._end.version)
            if fitting:
                await self._add(fitting, self._end)
            elif self._is_sure:
                await self._refuse(self._end)
            else:
                self._end = None
        return [self._answers[number] for number in range(len(self._parts))]

    def _left(self) -> Sequence[int]:
        return [number for number in range(len(self._parts)) if number not in self._answers]

    def _fitting(self, version: int) -> Sequence[int]:
        """The parts that can follow one another behind this version, as many as one batch takes."""
        fitting: list[int] = []
        first = version
        for number in self._left():
            part = self._parts[number]
            if part.expected is not ANY and part.expected != version:
                continue
            if fitting and version + len(part.events) - first > self._at_once:
                break
            fitting.append(number)
            version += len(part.events)
        return fitting

    async def _add(self, fitting: Sequence[int], end: EventPlace) -> None:
        try:
            added = await self._publish(fitting, end)
        except NotSent as refused:
            if not refused.apart:
                raise
            # One of them may be to blame, so each has its own try.
            if len(fitting) == 1:
                self._answers[fitting[0]] = refused
            self._at_once = 1
            return
        if added is None:
            self._races.lose(Conflict(()))
            await ASYNCIO.sleep(self._races.pause_s(self._log.here().random()))
            self._end = None
            return
        behind = added.version
        for number in reversed(fitting):
            self._answers[number] = Appended(behind, added.position - (added.version - behind))
            behind -= len(self._parts[number].events)
        self._log.ends.note(self._stream, added)
        self._end, self._is_sure = added, True

    async def _publish(self, fitting: Sequence[int], end: EventPlace) -> EventPlace | None:
        """Where the last event stands now; None where the end is another one."""
        connection, calls = self._log.here().connection, self._calls(fitting, end)
        try:
            [answer] = await connection.call_all(batch_of(calls))
            was_lost = False
        except Lost as lost:
            # The server refuses it if the first attempt happened.
            [answer] = await repeat(lost, lambda: connection.call_all(batch_of(calls)))
            was_lost = True
        said = answered(self._log.server, answer)
        if "error" not in said:
            return EventPlace(end.version + len(calls), said["seq"])
        names = [event.id for number in fitting for event in self._parts[number].events]
        return await self._added_before(end.version, names) if was_lost else None

    def _calls(self, fitting: Sequence[int], end: EventPlace) -> Sequence[Call]:
        subject, version = self._log.subject(self._stream, EVENT), end.version
        fence = {EXPECTED: str(end.position), f"{EXPECTED}-Subject": self._log.subject(self._stream, ".*")}
        calls: list[Call] = []
        for number in fitting:
            for event in self._parts[number].events:
                version += 1
                body = packed(self._stream, version, event, self._parts[number].shift_us)
                calls.append(Call(subject, body, None if calls else fence))
        return calls

    async def _added_before(self, version: int, names: Sequence[str]) -> EventPlace | None:
        """The place of the last of these events, if they stand behind that version."""
        there = (await self._log.between(self._stream, version + 1, version + len(names))).events
        is_same = [each.id for each in there] == list(names)
        return EventPlace(there[-1].version, there[-1].position) if is_same else None

    async def _refuse(self, end: EventPlace) -> None:
        for number in self._left():
            expected, events, _ = self._parts[number]
            assert expected is not ANY
            names = [event.id for event in events]
            there = await self._added_before(expected, names) if expected < end.version else None
            conflict = VersionConflict(self._log.name, self._stream, expected, end.version)
            self._answers[number] = conflict if there is None else Appended(there.version, there.position)
