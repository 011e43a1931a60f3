"""The limiter's steps for a server that runs Lua."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["Gcra"]

A = TypeVar("A")

_SOURCE = (pkgutil.get_data(__name__, "gcra.lua") or b"").decode()


class Gcra(Generic[A]):
    """See `Twin`: one request to `gcra.lua`, and how to read its answer."""

    __slots__ = ("_args", "_read")
    name = "gcra/1"
    source = _SOURCE

    def __init__(self, args: Sequence[str], read: Callable[[Sequence[bytes]], A]) -> None:
        self._args = args
        self._read = read

    def args(self) -> Sequence[str]:
        """The request."""
        return self._args

    def answer(self, reply: Sequence[bytes]) -> A:
        """The Python answer that the reply stands for."""
        return self._read(reply)
