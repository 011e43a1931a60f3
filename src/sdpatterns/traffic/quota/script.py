"""The quota's steps for a server that runs Lua."""

from __future__ import annotations

from typing import TypeVar

from sdpatterns.core.script import Request, chunk

__all__ = ["Count"]

A = TypeVar("A")


class Count(Request[A]):
    """A request to `count.lua`."""

    __slots__ = ()
    name = "quota/1"
    source = chunk(__name__, "count.lua")
