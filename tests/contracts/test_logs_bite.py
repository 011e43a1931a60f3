"""The contracts of logs: each fault below is seen by a scene of theirs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sdpatterns.backends.memory import MemoryBackend, MemoryLog
from sdpatterns.errors import SdpatternsError
from sdpatterns.ports.log import (
    ANY,
    LIMIT,
    Appended,
    Expected,
    LogPage,
    LogSettings,
    NewEvent,
    StreamPage,
)
from sdpatterns.testing.contracts import BackendContract, BackendUnderTest, BoundedLogContract, EventLogContract


class Blind(MemoryLog):
    """Takes any version."""

    async def append(self, stream: str, expected: Expected, events: Sequence[NewEvent], /) -> Appended:
        return await super().append(stream, ANY, events)


class OneByOne(MemoryLog):
    """Appends the first event before it finds that the second one is too large."""

    async def append(self, stream: str, expected: Expected, events: Sequence[NewEvent], /) -> Appended:
        if len(events) > 1:
            await super().append(stream, expected, events[:1])
            return await super().append(stream, expected if expected is ANY else expected + 1, events[1:])
        return await super().append(stream, expected, events)


class Forgetful(MemoryLog):
    """Knows no append again."""

    def _appended_before(self, stream: str, expected: int, found: int, events: Sequence[NewEvent]) -> Appended:
        return super()._appended_before(stream, expected, found, [*events, *events])


class Skipping(MemoryLog):
    """Skips the last event of a page that is full."""

    async def read_all(self, after: int = 0, limit: int = LIMIT, /) -> LogPage:
        page = await super().read_all(after, limit)
        return page._replace(events=page.events[:-1]) if page.is_more else page


class Disordered(MemoryLog):
    """Gives a page in the order of the streams."""

    async def read_all(self, after: int = 0, limit: int = LIMIT, /) -> LogPage:
        page = await super().read_all(after, limit)
        return page._replace(events=sorted(page.events))


class Silent(MemoryLog):
    """Trims, and says nothing of it to readers."""

    async def trim(self, before: int, /) -> int:
        count = await super().trim(before)
        self._trimmed = 0
        return count


class Resetting(MemoryLog):
    """Forgets a stream with its last event."""

    async def trim_stream(self, stream: str, before: int, /) -> int:
        count = await super().trim_stream(stream, before)
        if stream in self._streams and not self._streams[stream].events:
            del self._streams[stream]
        return count


class Forward(MemoryLog):
    """Reads backwards from the beginning."""

    async def read(self, stream: str, /, after: int = 0, limit: int = LIMIT, *, backwards: bool = False) -> StreamPage:
        page = await super().read(stream, 0 if backwards else after, limit)
        return page._replace(events=page.events[::-1]) if backwards else page


class Unbounded(MemoryLog):
    """Has no bound."""

    def _make_room(self, count: int) -> None:
        """There is always room."""


FAULTS = {
    Blind: "test_a_wrong_version_is_refused_and_changes_nothing",
    OneByOne: "test_an_append_that_is_repeated_answers_as_the_first_time",
    Forgetful: "test_of_one_append_that_is_sent_several_times_at_once_one_is_kept",
    Skipping: "test_readers_that_begin_anywhere_see_the_same_sequence",
    Disordered: "test_positions_grow_with_every_append",
    Silent: "test_events_before_a_position_are_dropped",
    Resetting: "test_a_stream_that_is_trimmed_whole_goes_on",
    Forward: "test_backwards",
    Unbounded: "test_no_more_events_than_the_bound",
}


@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: kind.__name__)
def test_a_fault_is_seen(kind: type[MemoryLog]) -> None:
    class Faulty(MemoryBackend):
        def log(self, name: str, /, settings: LogSettings | None = None) -> MemoryLog:
            if name not in self._logs:
                settings = LogSettings() if settings is None else settings
                self._logs[name] = kind(name, settings, signals=self.signals)
            return self._logs[name]

    class Contract(EventLogContract, BoundedLogContract):
        def build(self) -> BackendUnderTest:
            return Faulty()

        def another(self, backend: BackendUnderTest, /) -> BackendUnderTest:
            return backend

    assert issubclass(Contract, BackendContract)
    with pytest.raises((AssertionError, SdpatternsError, pytest.fail.Exception)):
        getattr(Contract(), FAULTS[kind])()
