"""The steps of one key for a server that runs Lua."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["ClaimTwin"]

A = TypeVar("A")

_SOURCE = (pkgutil.get_data(__name__, "claim.lua") or b"").decode()


class ClaimTwin(Generic[A]):
    """See `Twin`: one request to `claim.lua`, and how to read its answer."""

    __slots__ = ("_args", "_read")
    name = "claim/1"
    source = _SOURCE

    def __init__(self, read: Callable[[Sequence[bytes]], A], *args: str | bytes) -> None:
        self._args = args
        self._read = read

    def args(self) -> Sequence[str | bytes]:
        """The request."""
        return self._args

    def answer(self, reply: Sequence[bytes]) -> A:
        """The Python answer that the reply stands for."""
        return self._read(reply)
