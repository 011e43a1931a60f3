"""What a batch of transitions makes of cells that were read: pure, so that it may run again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from sdpatterns.backends.redis.scripts import SLACK_MS
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.codec import Codec
from sdpatterns.core.context import deadline_left_s
from sdpatterns.core.step import GONE, UNCHANGED
from sdpatterns.errors import CodecError

__all__ = ["Draft", "Wish"]

S = TypeVar("S")


class Wish:
    """One caller's transition on its cells, and until when the caller wants it."""

    __slots__ = ("_until", "many", "names", "transition")

    def __init__(self, names: tuple[bytes, ...], transition: Any, *, many: bool) -> None:
        self.names = names
        self.transition = transition
        self.many = many
        left_s = deadline_left_s()
        self._until = None if left_s is None else SYSTEM.monotonic() + left_s

    @property
    def is_over(self) -> bool:
        """Whether the caller's deadline has passed."""
        return self._until is not None and SYSTEM.monotonic() >= self._until


class Draft(Generic[S]):
    """The cells as they were read, and as the transitions applied so far leave them."""

    def __init__(self, codec: Codec[S], values: Mapping[bytes, bytes | None], clock_us: int) -> None:
        self._codec = codec
        self._values = values
        self._clock_us = clock_us
        self._states: dict[bytes, S | None] = {}
        self._last_us: dict[bytes, int] = {}
        self._written: dict[bytes, tuple[bytes, bytes]] = {}
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
        # Encoded one by one, so that a state that can't be written harms the one who made it.
        written = [self._encoded(state, keep_s, now_us) for _, state, keep_s in changes]
        for (name, state, _), value in zip(changes, written, strict=True):
            self._states[name] = None if state is GONE else state
            self._last_us[name] = now_us
            self._written[name] = value
        self.topics += wake
        return answer

    def _encoded(self, state: Any, keep_s: float, now_us: int) -> tuple[bytes, bytes]:
        if state is GONE:
            return b"-", b"0"
        keep_ms = max(0, math.ceil(keep_s * 1000)) + SLACK_MS
        return b"%d|%b" % (now_us, self._codec.encode(state)), b"%d" % keep_ms

    def words(self) -> list[bytes]:
        """For each cell that was read: the value found, the value to write (`-` to drop it), its time to live."""
        return [
            word
            for name, value in self._values.items()
            for word in (value or b"", *self._written.get(name, (b"", b"0")))
        ]

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to write and nobody to wake."""
        return not self._written and not self.topics


def values_of(names: Sequence[bytes], found: Sequence[Any]) -> tuple[dict[bytes, bytes | None], int]:
    """What `READ` or a refused compare-and-set found: the values by name, and the server's time."""
    return dict(zip(names, found[2:], strict=True)), int(found[0]) * 1_000_000 + int(found[1])
