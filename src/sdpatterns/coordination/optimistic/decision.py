"""Write a value if its version is the expected one: pure, no clock of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from sdpatterns.core.codec import JsonCodec
from sdpatterns.core.fence import next_fence
from sdpatterns.core.step import Repeats, Step, unchanged

__all__ = ["RECORDS", "CompareAndSet", "Compared", "VersionRecord", "Versioned"]

T = TypeVar("T")


class Versioned(NamedTuple, Generic[T]):
    """A value and its version. Where there is none, the value is None and the version 0."""

    value: T | None
    version: int


class VersionRecord(NamedTuple):
    """The state of a cell. `writer` is who wrote it last, so that a repeat of a write finds itself."""

    version: int
    writer: str
    value: bytes


class Compared(NamedTuple):
    """The version that stands there now, and whether it is through this write."""

    version: int
    is_mine: bool


def _load(found: list[Any]) -> VersionRecord:
    return VersionRecord(*found)


RECORDS: JsonCodec[VersionRecord] = JsonCodec(list, _load)
"""How a record is written."""


class CompareAndSet:
    """Write `value` if the version is `expected`; 0 stands for no value."""

    __slots__ = ("expected", "keep_s", "value", "writer")
    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __init__(self, writer: str, expected: int, value: bytes, keep_s: float) -> None:
        self.writer = writer
        self.expected = expected
        self.value = value
        self.keep_s = keep_s

    def __call__(self, states: Sequence[VersionRecord | None], now_us: int, /) -> Step[VersionRecord, Compared]:
        """A version is never used twice, also when a cell was dropped: it is at least the store's time."""
        [state] = states
        found = 0 if state is None else state.version
        if state is not None and state.writer == self.writer:
            return unchanged(Compared(found, is_mine=True))
        if found != self.expected:
            return unchanged(Compared(found, is_mine=False))
        version = next_fence(found, now_us)
        return (VersionRecord(version, self.writer, self.value),), Compared(version, is_mine=True), (self.keep_s,), ()
