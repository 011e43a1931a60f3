"""Where a projection stands, who moves it, and which streams are parked: pure, on one cell.

```
HoldProjection(me)              free, or mine, or its lease is over --> mine; else: wait that long
MoveProjection(me, from, to)    mine, and it stands at `from`       --> it stands at `to`; else refused
```

The runner that holds the cell is the only one whose moves succeed. A move and its effect are durable together where
both are in one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from sdpatterns.core.codec import IntegersCodec, JsonCodec
from sdpatterns.core.step import Repeats, Step, unchanged

__all__ = [
    "LIVE",
    "PROJECTIONS",
    "DeclarePartitions",
    "HeldProjection",
    "HoldProjection",
    "MoveProjection",
    "ParkedStream",
    "ProjectionState",
    "PublishVersion",
    "ReleaseProjection",
    "RetryStream",
]

_KEEP_S = 10 * 366 * 86_400.0


class ParkedStream(NamedTuple):
    """A stream whose event at `version` could not be applied: it and the later ones of the stream wait.

    `due_us` is when it is tried again; None where that is left to you.
    """

    version: int
    attempts: int
    due_us: int | None
    reason: str


class ProjectionState(NamedTuple):
    """The state of the cell."""

    position: int = 0
    runner: str = ""
    until_us: int = 0
    parked: Mapping[str, ParkedStream] = {}


def _dump(state: ProjectionState) -> list[Any]:
    parked = {stream: list(it) for stream, it in state.parked.items()}
    return [state.position, state.runner, state.until_us, parked]


def _load(found: list[Any]) -> ProjectionState:
    position, runner, until_us, parked = found
    return ProjectionState(position, runner, until_us, {stream: ParkedStream(*it) for stream, it in parked.items()})


PROJECTIONS: JsonCodec[ProjectionState] = JsonCodec(_dump, _load)
LIVE = IntegersCodec()


class HeldProjection(NamedTuple):
    """The answer to `HoldProjection`: whether it is mine, where it stands, and the store's time."""

    is_mine: bool
    state: ProjectionState
    now_us: int


class HoldProjection:
    """Take or keep the projection. A lease that has more than half of its time left is not written again."""

    __slots__ = ("_lease_us", "_runner")
    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __init__(self, runner: str, lease_s: float) -> None:
        self._runner = runner
        self._lease_us = round(lease_s * 1_000_000)

    def __call__(
        self, states: Sequence[ProjectionState | None], now_us: int, /
    ) -> Step[ProjectionState, HeldProjection]:
        state = states[0] or ProjectionState()
        left_us = state.until_us - now_us
        if state.runner not in {"", self._runner} and left_us > 0:
            return unchanged(HeldProjection(is_mine=False, state=state, now_us=now_us))
        if state.runner == self._runner and left_us > self._lease_us // 2:
            return unchanged(HeldProjection(is_mine=True, state=state, now_us=now_us))
        state = state._replace(runner=self._runner, until_us=now_us + self._lease_us)
        return (state,), HeldProjection(is_mine=True, state=state, now_us=now_us), (_KEEP_S,), ()


class MoveProjection:
    """Go from one position to another, and park or free streams. Answers whether it was done."""

    __slots__ = ("_after", "_before", "_parked", "_runner", "_topic")
    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __init__(
        self, runner: str, before: int, after: int, parked: Mapping[str, ParkedStream | None], topic: str
    ) -> None:
        self._runner = runner
        self._before = before
        self._after = after
        self._parked = parked
        self._topic = topic

    def __call__(self, states: Sequence[ProjectionState | None], now_us: int, /) -> Step[ProjectionState, bool]:
        state = states[0]
        if state is None or state.runner != self._runner or state.position != self._before:
            return unchanged(answer=False)
        merged = {**state.parked, **self._parked}
        parked = {stream: it for stream, it in merged.items() if it is not None}
        return (state._replace(position=self._after, parked=parked),), True, (_KEEP_S,), (self._topic,)


class ReleaseProjection:
    """Leave the projection to another runner at once."""

    __slots__ = ("_runner", "_topic")
    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __init__(self, runner: str, topic: str) -> None:
        self._runner = runner
        self._topic = topic

    def __call__(self, states: Sequence[ProjectionState | None], now_us: int, /) -> Step[ProjectionState, None]:
        state = states[0]
        if state is None or state.runner != self._runner:
            return unchanged(answer=None)
        return (state._replace(runner="", until_us=0),), None, (_KEEP_S,), (self._topic,)


class RetryStream:
    """Try a parked stream again now; behind the event that failed, where that is to be left out."""

    __slots__ = ("_leave_out", "_stream", "_topic")
    repeats: ClassVar[Repeats] = "unsafe"
    script = None

    def __init__(self, stream: str, topic: str, *, leave_out: bool) -> None:
        self._stream = stream
        self._topic = topic
        self._leave_out = leave_out

    def __call__(self, states: Sequence[ProjectionState | None], now_us: int, /) -> Step[ProjectionState, bool]:
        state = states[0]
        found = None if state is None else state.parked.get(self._stream)
        if state is None or found is None:
            return unchanged(answer=False)
        found = found._replace(version=found.version + self._leave_out, attempts=0, due_us=0)
        return (state._replace(parked={**state.parked, self._stream: found}),), True, (_KEEP_S,), (self._topic,)


class PublishVersion:
    """From now on readers are told to read this version, unless a later one was published."""

    __slots__ = ("_version",)
    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __init__(self, version: int) -> None:
        self._version = version

    def __call__(self, states: Sequence[tuple[int, ...] | None], now_us: int, /) -> Step[tuple[int, ...], bool]:
        state = states[0]
        if state is not None and state[0] >= self._version:
            return unchanged(answer=False)
        return ((self._version,),), True, (_KEEP_S,), ()


class DeclarePartitions:
    """Keep how many partitions a version has; the first one to say so counts. Answers their number."""

    __slots__ = ("_count",)
    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __init__(self, count: int) -> None:
        self._count = count

    def __call__(self, states: Sequence[tuple[int, ...] | None], now_us: int, /) -> Step[tuple[int, ...], int]:
        state = states[0]
        if state is not None:
            return unchanged(answer=state[0])
        return ((self._count,),), self._count, (_KEEP_S,), ()
