"""The limiter's steps for a server that runs Lua."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["Gcra", "Metered", "chunk"]

A = TypeVar("A")


def chunk(package: str, file: str) -> str:
    """The text of a Lua file that lies beside a module."""
    return (pkgutil.get_data(package, file) or b"").decode()


class _Request(Generic[A]):
    """See `Twin`: one request to a chunk, and how to read its answer."""

    __slots__ = ("_args", "_read")

    def __init__(self, args: Sequence[str], read: Callable[[Sequence[bytes]], A]) -> None:
        self._args = args
        self._read = read

    def args(self) -> Sequence[str]:
        """The request."""
        return self._args

    def answer(self, reply: Sequence[bytes]) -> A:
        """The Python answer that the reply stands for."""
        return self._read(reply)


class Gcra(_Request[A]):
    """A request to `gcra.lua`."""

    __slots__ = ()
    name = "gcra/1"
    source = chunk(__name__, "gcra.lua")


class Metered(_Request[A]):
    """A request to one of the meters, each of which has a chunk of its own."""

    __slots__ = ("name", "source")

    def __init__(self, name: str, source: str, args: Sequence[str], read: Callable[[Sequence[bytes]], A]) -> None:
        super().__init__(args, read)
        self.name = name
        self.source = source
