"""A named space of cells, as one value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Generic, Literal, TypeAlias, TypeVar

from sdpatterns.core.codec import Codec
from sdpatterns.core.keys import check_key
from sdpatterns.core.ranges import whole

__all__ = ["KEYS_MAX", "Overflow", "Space"]

S = TypeVar("S")

KEYS_MAX = 1_048_576
"""Default bound on the live keys of one space, where the backend itself has to hold them."""

Overflow: TypeAlias = Literal["share", "refuse"] | Callable[[str], str]
"""What a new key gets when the space is full: one cell shared by all new keys, or `BackendFull`; or
the shared cell that a function names for it (one of few), where keys of several kinds share a space."""


@dataclasses.dataclass(frozen=True)
class Space(Generic[S]):
    """What a pattern says once of the cells that it uses: `Space("limiter/api", codec)`.

    `codec` turns a state into bytes and back. `group` puts all cells on one node of a cluster, which
    steps on several cells need. `keys_max` bounds the keys where the backend holds them in this
    process, and `overflow` says what a new key beyond the bound gets. Raises `ValueError` or TypeError
    for a setting that no store could keep.
    """

    name: str
    codec: Codec[S]
    _: dataclasses.KW_ONLY
    group: str | None = None
    keys_max: int = KEYS_MAX
    overflow: Overflow = "share"

    def __post_init__(self) -> None:
        """Check the settings."""
        check_key(self.name)
        if not (callable(getattr(self.codec, "encode", None)) and callable(getattr(self.codec, "decode", None))):
            raise TypeError(f"codec must have encode and decode, got {type(self.codec).__name__}")
        if self.group == "":
            raise ValueError("group must not be empty: an empty hash tag is none")
        whole("keys_max", self.keys_max, 1)
        if self.overflow not in {"share", "refuse"} and not callable(self.overflow):
            raise ValueError(f"overflow must be 'share', 'refuse' or a function, got {self.overflow!r}")
