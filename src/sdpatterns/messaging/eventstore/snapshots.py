"""Snapshots: the state of an aggregate at a version of its stream, kept so that fewer events are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from sdpatterns.core.codec import JsonCodec
from sdpatterns.core.step import Repeats, Step, unchanged

__all__ = ["SNAPSHOTS", "KeepSnapshot", "SnapshotRecord"]

_KEEP_S = 366 * 86_400.0


class SnapshotRecord(NamedTuple):
    """A state as bytes, encrypted where it holds the data of a `subject`, with the place of its last event."""

    version: int
    position: int
    subject: str | None
    state: bytes


def _load(found: list[Any]) -> SnapshotRecord:
    return SnapshotRecord(*found)


SNAPSHOTS: JsonCodec[SnapshotRecord] = JsonCodec(list, _load)
"""How a snapshot is written."""


class KeepSnapshot:
    """Keep the snapshot, unless there is one of a later version."""

    __slots__ = ("_record",)
    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __init__(self, record: SnapshotRecord) -> None:
        self._record = record

    def __call__(self, states: Sequence[SnapshotRecord | None], now_us: int, /) -> Step[SnapshotRecord, None]:
        [state] = states
        if state is not None and state.version >= self._record.version:
            return unchanged(answer=None)
        return (self._record,), None, (_KEEP_S,), ()
