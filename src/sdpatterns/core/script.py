"""The half of a step that runs on a server: a chunk of Lua that lies beside it, and requests to that chunk."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["Request", "chunk"]

A = TypeVar("A")


def chunk(package: str, file: str) -> str:
    """The text of a Lua file that lies beside a module."""
    return (pkgutil.get_data(package, file) or b"").decode()


class Request(Generic[A]):
    """See `Script`: one request to a chunk, and how to read its answer.

    A pattern derives from it a class that says the chunk's `name` and `source`.
    """

    __slots__ = ("_args", "_read")

    def __init__(self, args: Sequence[str | bytes], read: Callable[[Sequence[bytes]], A]) -> None:
        self._args = args
        self._read = read

    def args(self) -> Sequence[str | bytes]:
        """The request."""
        return self._args

    def answer(self, reply: Sequence[bytes]) -> A:
        """The Python answer that the reply stands for."""
        return self._read(reply)
