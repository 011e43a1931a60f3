"""Which groups a topic has: pure steps on one cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from sdpatterns.core.codec import JsonCodec
from sdpatterns.core.step import Repeats, Step, unchanged

__all__ = ["GROUPS", "GROUPS_MAX", "ChangeGroups"]

GROUPS_MAX = 100
_KEPT_S = 10 * 366 * 86_400.0


def _load(found: list[Any]) -> tuple[str, ...]:
    return tuple(found)


GROUPS: JsonCodec[tuple[str, ...]] = JsonCodec(list, _load)
"""How the names of the groups are written."""


class ChangeGroups:
    """Add a group, or take one out. Answers the groups then; a group beyond `GROUPS_MAX` is not among them."""

    __slots__ = ("group", "is_there")
    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __init__(self, group: str, *, is_there: bool) -> None:
        self.group = group
        self.is_there = is_there

    def __call__(self, states: Sequence[tuple[str, ...] | None], now_us: int, /) -> Step[tuple[str, ...], Any]:
        """The same groups are written again, because a cell that nothing writes ends after ten years."""
        [state] = states
        others = tuple(group for group in state or () if group != self.group)
        if self.is_there and len(others) >= GROUPS_MAX:
            return unchanged(others)
        groups = tuple(sorted((*others, self.group))) if self.is_there else others
        return (groups,), groups, (_KEPT_S,), ()
