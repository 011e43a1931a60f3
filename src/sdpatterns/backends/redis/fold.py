"""What a batch of transitions makes of cells that were read: pure, so that it may run again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from sdpatterns.backends.redis.scripts import SLACK_MS
from sdpatterns.core.codec import Codec
from sdpatterns.core.step import GONE, UNCHANGED
from sdpatterns.errors import CodecError

__all__ = ["Draft", "Wish"]

S = TypeVar("S")


class Wish(NamedTuple):
    """One caller's transition on its cells."""

    names: tuple[bytes, ...]
    transition: Any
    many: bool


class Draft(Generic[S]):
    """The cells as they were read, and as the transitions applied so far leave them."""

    def __init__(self, codec: Codec[S], values: Mapping[bytes, bytes | None], clock_us: int) -> None:
        self._codec = codec
        self._values = values
        self._clock_us = clock_us
        self._states: dict[bytes, S | None] = {}
        self._last_us: dict[bytes, int] = {}
        self._written: dict[bytes, float] = {}
        self.topics: list[str] = []

    def look(self, name: bytes) -> S | None:
        """The state of a cell as the draft has it."""
        # Decoded at first use: a cell that can't be read harms only those who ask for it.
        if name not in self._states:
            value = self._values[name]
            if value is None:
                self._states[name], self._last_us[name] = None, 0
            else:
                last, bar, payload = value.partition(b"|")
                if not bar or not last.isdigit():
                    raise CodecError(f"not a cell of this backend: {value[:40]!r}")
                self._states[name], self._last_us[name] = self._codec.decode(payload), int(last)
        return self._states[name]

    def apply(self, wish: Wish) -> Any:
        """The transition's answer; the draft moves on, or stays as it was when this raises."""
        states = [self.look(name) for name in wish.names]
        now_us = max(self._clock_us, *(self._last_us[name] for name in wish.names))
        if wish.many:
            after, answer, keeps_s, wake = wish.transition(states, now_us)
        else:
            state, answer, keep_s, wake = wish.transition(states[0], now_us)
            after, keeps_s = (state,), (keep_s,)
        changes = [change for change in zip(wish.names, after, keeps_s, strict=True) if change[1] is not UNCHANGED]
        for name, state, keep_s in changes:
            self._states[name] = None if state is GONE else state
            self._last_us[name] = now_us
            self._written[name] = keep_s
        self.topics += wake
        return answer

    def found(self, name: bytes) -> bytes:
        """What was read, empty for nothing."""
        return self._values[name] or b""

    def changes(self) -> list[tuple[bytes, bytes, bytes, bytes]]:
        """Name, value found, value to write (`-` to drop it) and time to live, for each cell written."""
        return [(name, self.found(name), *self._value(name)) for name in self._written]

    def _value(self, name: bytes) -> tuple[bytes, bytes]:
        state = self._states[name]
        if state is None:
            return b"-", b"0"
        keep_ms = max(0, math.ceil(self._written[name] * 1000)) + SLACK_MS
        return b"%d|%b" % (self._last_us[name], self._codec.encode(state)), b"%d" % keep_ms


def values_of(names: Sequence[bytes], found: Sequence[Any]) -> tuple[dict[bytes, bytes | None], int]:
    """What `READ` or a refused compare-and-set found: the values by name, and the server's time."""
    return dict(zip(names, found[2:], strict=True)), int(found[0]) * 1_000_000 + int(found[1])
