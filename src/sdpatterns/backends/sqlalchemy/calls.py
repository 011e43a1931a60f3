"""Waiting steps, the cells they touch, and how many of them become one write.

```
calls ---> read all their cells once ---> decide one after another ---> write what changed, once
```

Nothing here knows a database or waits. A step sees the state that the one before it left, in the
same batch or in the table; one that raises changes nothing, and only its caller gets the exception.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from sdpatterns.core.codec import Codec
from sdpatterns.core.step import GONE, UNCHANGED

__all__ = ["Call", "Cell", "Place", "decide_all"]

Place: TypeAlias = tuple[str, str]
"""Space and key, as they stand in the table."""

_FAR_US = 1 << 62
_GRID_BITS_MIN = 20


def expiry_us(now_us: int, keep_s: float) -> int:
    """The microsecond from which a cell is garbage: its time or up to an eighth of it later.

    Rounded up to a coarse grid, so that a busy cell's row keeps its place in the index on this
    column for many steps, and Postgres need not write the index at all.
    """
    keep_us = int(min(keep_s * 1_000_000, _FAR_US >> 1))
    bits = max(_GRID_BITS_MIN, keep_us.bit_length() - 4)
    return min(_FAR_US, ((now_us + keep_us >> bits) + 1) << bits)


class Call:
    """One step on its way. It has ended when `done`: with `answer`, with `error`, or `lost`.

    `lost` means that nothing of it happened, because another client wrote one of its cells first
    (or holds it): the caller may send it again.
    """

    __slots__ = (
        "answer", "codec", "done", "doubt", "error", "future", "lost", "many", "places", "reads", "transition",
    )  # fmt: skip

    def __init__(
        self,
        places: tuple[Place, ...],
        codec: Codec[Any],
        transition: Any,
        *,
        many: bool = False,
        reads: bool = False,
    ) -> None:
        self.places = places
        self.codec = codec
        self.transition = transition
        self.many = many
        self.reads = reads
        self.doubt = False
        self.future: asyncio.Future[None] | None = None
        self.renew()

    def renew(self) -> None:
        """As if it had not run yet."""
        self.answer: Any = None
        self.error: BaseException | None = None
        self.done = False
        self.lost = False

    def fail(self, error: BaseException) -> None:
        """End it with an error of its own."""
        self.error = error
        self.done = True

    def lose(self) -> None:
        """End it without having happened."""
        self.lost = self.done = True

    def result(self) -> Any:
        """Its answer. Raises what it ended with."""
        if self.error is not None:
            raise self.error
        return self.answer


class Cell:
    """One row: as it was read, and as the steps of the batch left it."""

    __slots__ = ("_codec", "_state", "dirty", "expires_us", "last_us", "place", "stored", "topics", "version")

    def __init__(self, place: Place, version: int = 0, stored: bytes | None = None, last_us: int = 0) -> None:
        self.place = place
        self.version = version
        self.stored = stored
        self.last_us = last_us
        self.expires_us = 0
        self.dirty = False
        self.topics: list[str] = []
        self._codec: Codec[Any] | None = None
        self._state: Any = None

    def state(self, codec: Codec[Any]) -> Any:
        """The state as `codec` reads it, or None."""
        if self._codec is not codec:
            self._state = None if self.stored is None else codec.decode(self.stored)
            self._codec = codec
        return self._state

    def put(self, state: Any, stored: bytes | None, codec: Codec[Any], now_us: int, expires_us: int) -> None:
        """Leave a new state, or none where `stored` is None."""
        self._state = state
        self._codec = codec
        self.stored = stored
        self.last_us = now_us
        self.expires_us = expires_us
        self.dirty = True

    @property
    def is_fresh(self) -> bool:
        """There was no row."""
        return self.version == 0

    @property
    def must_be_written(self) -> bool:
        """A step changed it, and not back into nothing where there was nothing."""
        return self.dirty and (self.stored is not None or self.version != 0)

    @property
    def next_version(self) -> int:
        """Never used before, even for a key that was dropped in between: time is part of it."""
        return max(self.version + 1, self.last_us)


def decide_all(calls: Iterable[Call], cells: dict[Place, Cell], now_us: int) -> list[str]:
    """Run the steps in order on `cells`; the topics that belong to no cell."""
    loose: list[str] = []
    for call in calls:
        call.renew()
        try:
            wake = _decide(call, [cells[place] for place in call.places], now_us)
        except Exception as error:  # noqa: BLE001 - whatever a transition or a codec raises is its caller's
            call.error = error
            continue
        if wake:
            (cells[call.places[0]].topics if call.places else loose).extend(wake)
    return loose


def _decide(call: Call, cells: Sequence[Cell], now_us: int) -> Sequence[str]:
    codec = call.codec
    for cell in cells:
        now_us = max(now_us, cell.last_us)
    if call.many:
        nexts, answer, keeps_s, wake = call.transition([cell.state(codec) for cell in cells], now_us)
    else:
        after, answer, keep_s, wake = call.transition(cells[0].state(codec), now_us)
        nexts, keeps_s = (after,), (keep_s,)
    # All of it is encoded before any of it is put: a state that cannot be written changes no cell.
    puts = [
        (cell, _draft(state, codec, now_us, keep_s))
        for cell, state, keep_s in zip(cells, nexts, keeps_s, strict=True)
        if state is not UNCHANGED
    ]
    for cell, (state, stored, expires_us) in puts:
        cell.put(state, stored, codec, now_us, expires_us)
    call.answer = answer
    topics: Sequence[str] = wake
    return topics


def _draft(state: Any, codec: Codec[Any], now_us: int, keep_s: float) -> tuple[Any, bytes | None, int]:
    if state is GONE:
        return None, None, 0
    return state, codec.encode(state), expiry_us(now_us, keep_s)
