"""The limiter's steps for a server that runs Lua."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from sdpatterns.core.twin import Request, chunk

__all__ = ["Gcra", "Metered"]

A = TypeVar("A")


class Gcra(Request[A]):
    """A request to `gcra.lua`."""

    __slots__ = ()
    name = "gcra/1"
    source = chunk(__name__, "gcra.lua")


class Metered(Request[A]):
    """A request to one of the meters, each of which has a chunk of its own."""

    __slots__ = ("name", "source")

    def __init__(self, name: str, source: str, args: Sequence[str], read: Callable[[Sequence[bytes]], A]) -> None:
        super().__init__(args, read)
        self.name = name
        self.source = source
