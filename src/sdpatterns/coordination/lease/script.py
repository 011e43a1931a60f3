"""The steps of one line for a server that runs Lua."""

from __future__ import annotations

from typing import TypeVar

from sdpatterns.core.script import Request, chunk

__all__ = ["LineScript"]

A = TypeVar("A")


class LineScript(Request[A]):
    """A request to `line.lua`."""

    __slots__ = ()
    name = "line/1"
    source = chunk(__name__, "line.lua")
