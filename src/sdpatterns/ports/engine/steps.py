"""Apply steps to cells that were read. Every store that keeps bytes does it here and nowhere else.

```
snapshot --> decode once --> step, step, step ... in order --> encode --> changes, topics
```

Pure: it reads no clock and waits for nothing, so that a store may run it again after a conflict. The
rules that it keeps, in this order:

1. A step sees the state that the step before it left, in the same batch or in the store.
2. The time that a step is given is the store's, but never before the last write of one of its cells.
3. All new states of a step are encoded before the first one is put: a step that raises changes
   nothing, and only its own caller gets the exception.
4. A step on several cells that writes one of them also relies on the others: they go into the
   changes as `UNCHANGED`, to be compared and not written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple, TypeAlias

from sdpatterns.core import clock
from sdpatterns.core.codec import Codec
from sdpatterns.core.context import Until, deadline_at
from sdpatterns.core.step import GONE, UNCHANGED, Next, Repeats, Step, Transition
from sdpatterns.errors import CodecError
from sdpatterns.ports.space import Space

__all__ = ["DROP", "LOOK", "CellKey", "Change", "Drop", "Found", "Look", "PendingStep", "Snapshot", "apply_steps"]

CellKey: TypeAlias = Any
"""What a store calls a cell: the space and the key, in any form that can be hashed."""


class Look:
    """Answers with the states, as they are."""

    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __call__(self, states: Sequence[Any], now_us: int, /) -> Step[Any, list[Any]]:
        return [UNCHANGED] * len(states), list(states), [0.0] * len(states), ()


class Drop:
    """Drops the cells. It does not look at their states, so that a state that cannot be read can be dropped."""

    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __call__(self, states: Sequence[Any], now_us: int, /) -> Step[Any, None]:
        return [GONE] * len(states), None, [0.0] * len(states), ()


LOOK = Look()
DROP = Drop()


class PendingStep:
    """One caller's step on its way: a transition and its keys, then its answer or its error.

    It has ended when `done`: with `answer`, with `error`, or `conflicted`, which means that nothing of
    it happened because another client wrote one of its cells, or holds it: then `held_by` says who, and
    what to do, where the store knows it. `names` are its keys as the store calls the cells. `in_doubt`
    says that an earlier attempt may have happened, because its reply was lost. `reads` says that it
    writes nothing and that its answer needs no single moment.
    """

    __slots__ = (
        "answer", "conflicted", "deadline", "done", "error", "held_by", "in_doubt",
        "keys", "names", "reads", "space", "transition",
    )  # fmt: skip

    def __init__(
        self, space: Space[Any], keys: Sequence[str], transition: Transition[Any, Any], *, reads: bool = False
    ) -> None:
        self.space = space
        self.keys = keys
        self.transition = transition
        self.reads = reads
        # Taken here, because the task that carries the step out may be another one with another context.
        self.deadline = deadline_at.get()
        self.names: Sequence[CellKey] = keys
        self.in_doubt = False
        self.answer: Any = None
        self.error: BaseException | None = None
        self.done = False
        self.conflicted = False
        self.held_by = ""

    def renew(self) -> None:
        """As if it had not run yet."""
        self.answer = None
        self.error = None
        self.done = False
        self.conflicted = False
        self.held_by = ""

    def fail(self, error: BaseException) -> None:
        """End it with an error of its own."""
        self.error = error
        self.done = True

    def conflict(self, held_by: str = "") -> None:
        """End it without having happened."""
        self.held_by = held_by
        self.conflicted = self.done = True

    def result(self) -> Any:
        """Its answer. Raises what it ended with."""
        if self.error is not None:
            raise self.error
        return self.answer

    @property
    def is_over(self) -> bool:
        """Whether its caller's deadline has passed."""
        left_s = self.left_s
        return left_s is not None and left_s <= 0

    @property
    def left_s(self) -> float | None:
        """The seconds until its caller's deadline; None without one, and after it ended."""
        at = self.deadline
        if at is None or (isinstance(at, Until) and at.is_over):
            return None
        return at - clock.SYSTEM.monotonic()


class Found(NamedTuple):
    """A cell as a store holds it.

    `version` is what the store compares when it writes. `payload` is a `CodecError` where the store
    holds bytes that it did not write as a cell; who needs the state gets it raised. It is None for a cell
    that was dropped, where the store remembers that, and compares it, for a while.
    """

    version: Any
    payload: bytes | CodecError | None
    last_us: int


class Snapshot(NamedTuple):
    """Cells, None for one that does not exist, and the store's time after they were read."""

    found: Mapping[CellKey, Found | None]
    now_us: int


class Change(NamedTuple):
    """What shall become of one cell, if it is still as it was found.

    `expected` is the version found, None for no cell. `payload` is what to write, `GONE` to drop the cell,
    `UNCHANGED` to only compare it. `last_us` is the time of the write, to be stored with the payload; the
    cell must not be dropped for `keep_s` from then. `topics` are announced if this change is written.
    """

    key: CellKey
    expected: Any
    payload: Next[bytes]
    last_us: int
    keep_s: float
    topics: Sequence[str]


class _Cell:
    """One cell of a batch: as it was found, and as the steps so far leave it."""

    __slots__ = ("codec", "expected", "is_compared", "is_written", "keep_s", "last_us", "payload", "state", "topics")

    def __init__(self, found: Found | None) -> None:
        self.expected: Any
        self.payload: bytes | CodecError | None
        self.expected, self.payload, self.last_us = _ABSENT if found is None else found
        self.codec: Codec[Any] | None = None
        self.state: Any = None
        self.keep_s = 0.0
        self.is_written = False
        self.is_compared = False
        self.topics: Sequence[str] = ()

    def read(self, codec: Codec[Any]) -> Any:
        """The state as `codec` reads it, or None. Read at first use: a bad one harms only those who ask."""
        if self.codec is not codec:
            payload = self.payload
            if isinstance(payload, CodecError):
                # A new one for each caller, because an exception that is raised twice collects both tracebacks.
                raise type(payload)(*payload.args)
            self.state = None if payload is None else codec.decode(payload)
            self.codec = codec
        return self.state

    def put(self, state: Any, payload: bytes | None, codec: Codec[Any], now_us: int, keep_s: float) -> None:
        """Leave a new state, or none where `payload` is None."""
        self.state = state
        self.payload = payload
        self.codec = codec
        self.keep_s = keep_s
        self.last_us = now_us
        self.is_written = True

    def change(self, key: CellKey) -> Change | None:
        """What the store has to do; None for nothing."""
        # A cell that was made and dropped in one batch never existed for the store.
        if self.is_written and not (self.payload is None and self.expected is None):
            payload: Any = GONE if self.payload is None else self.payload
            return Change(key, self.expected, payload, self.last_us, self.keep_s, self.topics)
        return Change(key, self.expected, UNCHANGED, self.last_us, 0.0, ()) if self.is_compared else None


_ABSENT: Final = (None, None, 0)
"""What is found where there is no cell."""


def apply_steps(steps: Iterable[PendingStep], snapshot: Snapshot) -> tuple[list[Change], list[str]]:
    """Run the steps in order; the changes that they make, and the topics that belong to none of these.

    Each step then has its answer or its error, which counts once the changes are written.
    """
    cells: dict[CellKey, _Cell] = {}
    topics: list[str] = []
    found, clock_us = snapshot
    for step in steps:
        if step.done or step.error is not None:
            step.renew()  # left from an attempt that was not written
        try:
            of_step = [cells.get(name) or cells.setdefault(name, _Cell(found[name])) for name in step.names]
            wake = _apply_to_one(step, of_step[0], clock_us) if len(of_step) == 1 else _apply(step, of_step, clock_us)
        except Exception as error:  # noqa: BLE001 - what a transition or a codec raises is for its caller
            step.error = error
            continue
        # Topics go with the first cell, so that they are announced only if its change is written.
        if wake and of_step:
            of_step[0].topics = [*of_step[0].topics, *wake]
        elif wake:
            topics += wake
    changes = []
    for name, cell in cells.items():
        change = cell.change(name)
        if change is not None:
            changes.append(change)
        if cell.topics and (change is None or change.payload is UNCHANGED):
            topics += cell.topics
    return changes, topics


def _apply(step: PendingStep, cells: Sequence[_Cell], now_us: int) -> Sequence[str]:
    codec = step.space.codec
    # The clock of a server can go back, at a failover for instance. The time of a cell must not.
    for cell in cells:
        now_us = max(now_us, cell.last_us)
    states = [None] * len(cells) if step.transition is DROP else [cell.read(codec) for cell in cells]
    nexts, answer, keeps_s, wake = step.transition(states, now_us)
    # All are encoded before the first is put: a state that cannot be encoded must leave no half of a step.
    puts = [
        (cell, state, codec.encode(state), keep_s) if state is not GONE else (cell, None, None, 0.0)
        for cell, state, keep_s in zip(cells, nexts, keeps_s, strict=True)
        if state is not UNCHANGED
    ]
    for cell, state, payload, keep_s in puts:
        cell.put(state, payload, codec, now_us, keep_s)
    # It decided on all of its cells, so all must still be as they were, or two such steps could undo each other's
    # condition (write skew).
    if not step.reads and any(cell.is_written for cell in cells):
        for cell in cells:
            cell.is_compared = True
    step.answer = answer
    return wake


def _apply_to_one(step: PendingStep, cell: _Cell, now_us: int) -> Sequence[str]:
    """The same for one cell, which nearly every step has: the lists of the other cost more than the step."""
    codec = step.space.codec
    now_us = max(now_us, cell.last_us)
    state = None if step.transition is DROP else cell.read(codec)
    (state,), answer, (keep_s,), wake = step.transition((state,), now_us)
    if state is GONE:
        cell.put(None, None, codec, now_us, 0.0)
    elif state is not UNCHANGED:
        cell.put(state, codec.encode(state), codec, now_us, keep_s)
    step.answer = answer
    return wake
