"""What the row of a cell holds beside its state: its name, its version, until when it is kept."""

from __future__ import annotations

from typing import TypeAlias

from sdpatterns.backends.sqlalchemy.engine.texts import stored_text
from sdpatterns.ports.engine.steps import Change

__all__ = ["Place", "expiry_us", "next_version", "stored_text"]

Place: TypeAlias = tuple[str, str]
"""Space and key, as they stand in the table."""

_FAR_US = 1 << 62
_GRID_BITS_MIN = 20


def next_version(change: Change) -> int:
    """Never used before, even for a key that was dropped in between: time is part of it."""
    return max((change.expected or 0) + 1, change.last_us)


def expiry_us(now_us: int, keep_s: float) -> int:
    """The microsecond from which a cell is garbage: its time or up to an eighth of it later.

    Rounded up to a coarse grid, so that a busy cell's row keeps its place in the index on this
    column for many steps, and Postgres need not write the index at all.
    """
    # Bounded before it becomes an integer, because `keep_s` may be infinite.
    keep_us = int(min(keep_s * 1_000_000, _FAR_US >> 1))
    bits = max(_GRID_BITS_MIN, keep_us.bit_length() - 4)
    return min(_FAR_US, ((now_us + keep_us >> bits) + 1) << bits)
