"""The quota's steps for a server that runs Lua."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["Count"]

A = TypeVar("A")


class Count(Generic[A]):
    """See `Twin`: a request to `count.lua`, and how to read its answer."""

    __slots__ = ("_args", "_read")
    name = "quota/1"
    source = (pkgutil.get_data(__name__, "count.lua") or b"").decode()

    def __init__(self, args: Sequence[str], read: Callable[[Sequence[bytes]], A]) -> None:
        self._args = args
        self._read = read

    def args(self) -> Sequence[str]:
        """The request."""
        return self._args

    def answer(self, reply: Sequence[bytes]) -> A:
        """The Python answer that the reply stands for."""
        return self._read(reply)
