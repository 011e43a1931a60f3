"""What the scenes about logs share: scenes with a log, events, and a reader."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from sdpatterns.core.runtime import current
from sdpatterns.ports.log import ANY, Appended, EventLog, Expected, NewEvent, RecordedEvent
from sdpatterns.testing.contracts.stage import BackendContract, Stage, scene
from sdpatterns.testing.contracts.verdicts import assert_same

__all__ = [
    "HEARD_WITHIN_S", "append", "assert_log", "event", "ids_of", "log_scene", "numbered", "pause", "read_ids", "walk",
]  # fmt: skip

HEARD_WITHIN_S = 60.0
"""Only ends a scene that hangs."""

C = TypeVar("C", bound=BackendContract)


def log_scene(play: Callable[[C, Stage, EventLog], Coroutine[Any, Any, None]]) -> Callable[[C], None]:
    """A test function that plays the coroutine with a log of its own."""

    async def on(self: C, stage: Stage) -> None:
        await play(self, stage, stage.log())

    on.__name__ = getattr(play, "__name__", "test")
    on.__qualname__ = getattr(play, "__qualname__", "test")
    on.__doc__ = play.__doc__
    return scene(on)


def event(name: str, **words: Any) -> NewEvent:
    """An event whose data is its id."""
    return NewEvent(**{"id": name, "type": "noted", "data": name.encode(), **words})


def numbered(count: int, prefix: str = "e") -> list[NewEvent]:
    """Events e0, e1 and so on."""
    return [event(f"{prefix}{number}") for number in range(count)]


async def append(log: EventLog, stream: str, *names: str, expected: Expected = ANY) -> Appended:
    """Append events of these ids, in one call."""
    return await log.append(stream, expected, [event(name) for name in names])


def ids_of(events: Iterable[RecordedEvent]) -> list[str]:
    """Their ids."""
    return [each.id for each in events]


async def read_ids(log: EventLog, stream: str) -> list[str]:
    """The ids of a whole stream."""
    return ids_of((await log.read(stream)).events)


async def walk(log: EventLog, limit: int = 100, after: int = 0) -> list[RecordedEvent]:
    """All events behind a position, page by page, until a page has come to the head."""
    found: list[RecordedEvent] = []
    while True:
        page = await log.read_all(after, limit)
        found += page.events
        assert after <= page.position <= page.head
        after = page.position
        if not page.is_more and page.held_s is None:
            return found


def assert_log(events: Sequence[RecordedEvent]) -> None:
    """Fail unless the positions grow, and the versions of each stream count from 1 without gaps."""
    positions = [each.position for each in events]
    assert_same(positions, sorted(set(positions)))
    versions: dict[str, int] = {}
    for each in events:
        before = versions.get(each.stream, 0)
        assert each.version == before + 1, f"{each.stream!r}: version {each.version} stands behind version {before}"
        versions[each.stream] = each.version


async def pause() -> None:
    """Let others run."""
    await current().sleep(0)
