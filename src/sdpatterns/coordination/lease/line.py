"""The state of one key: who holds its permits, who waits for them, and its form as bytes."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from sdpatterns.core.codec import split_version
from sdpatterns.errors import CodecError, UnknownVersion

__all__ = ["Holder", "Line", "LineCodec", "LinePlace", "cohort_of"]

_VERSION = 1


class Holder(NamedTuple):
    """One that holds permits, until it gives them back or its lease ends."""

    who: str
    permits: int
    fence: int
    until_us: int


class LinePlace(NamedTuple):
    """A place in the line. It is passed over when nothing was heard of its owner until `alive_us`."""

    who: str
    permits: int
    alive_us: int
    lease_us: int


class Line(NamedTuple):
    """The state of one key. `fence` is the last that was given. No lease and no place lasts beyond `until_us`."""

    fence: int = 0
    holders: tuple[Holder, ...] = ()
    queue: tuple[LinePlace, ...] = ()
    # Written down, because to look for it would make each step as long as the line.
    until_us: int = 0


class LineCodec:
    """`1:<fence> <until> <holders>|<line>`, a holder `;who:permits:fence:until`, a place `;who:permits:alive:lease`.

    No name of a caller has one of `;:|` in it, so that a Lua script finds one by plain text.
    """

    __slots__ = ()
    version: ClassVar[int] = _VERSION

    def encode(self, value: Line, /) -> bytes:
        holders = "".join([f";{who}:{permits}:{fence}:{until}" for who, permits, fence, until in value.holders])
        queue = "".join([f";{who}:{permits}:{alive}:{lease}" for who, permits, alive, lease in value.queue])
        return f"{_VERSION}:{value.fence} {value.until_us} {holders}|{queue}".encode()

    def decode(self, data: bytes, /) -> Line:
        """The line in `data`. Raises `CodecError`, or `UnknownVersion` for a newer one."""
        version, body = split_version(data)
        if version != _VERSION:
            raise UnknownVersion(f"state version {version}; this release knows {_VERSION}")
        try:
            fence, until, lists = body.decode().split(" ")
            holders, queue = lists.split("|")
            return Line(
                int(fence),
                tuple([Holder(*_entry(text)) for text in holders.split(";")[1:]]),
                tuple([LinePlace(*_entry(text)) for text in queue.split(";")[1:]]),
                int(until),
            )
        except ValueError as cause:
            raise CodecError(f"not a line of permits: {data[:40]!r}") from cause


def _entry(text: str) -> tuple[str, int, int, int]:
    who, permits, first, second = text.split(":")
    return who, int(permits), int(first), int(second)


def cohort_of(who: str) -> str:
    """What callers have in common that are served by one object of one process; empty for all others."""
    process, _, rest = who.partition("#")
    _, tilde, number = rest.rpartition("~")
    return f"{process}~{number}" if tilde else ""
