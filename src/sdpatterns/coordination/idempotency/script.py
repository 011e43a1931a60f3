"""The steps of one key for a server that runs Lua."""

from __future__ import annotations

from typing import TypeVar

from sdpatterns.core.script import Request, chunk

__all__ = ["ClaimScript"]

A = TypeVar("A")


class ClaimScript(Request[A]):
    """A request to `claim.lua`."""

    __slots__ = ()
    name = "claim/1"
    source = chunk(__name__, "claim.lua")
