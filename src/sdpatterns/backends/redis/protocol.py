"""Commands as bytes, packed here because they go past redis-py's own connections."""

from __future__ import annotations

from typing import cast

from hiredis import pack_command

__all__ = ["Asking", "pack"]


class Asking(bytes):
    """A command with `ASKING` before it, for a key on its way to another node: two replies, the last counts."""


def pack(*parts: str | bytes) -> bytes:
    """One whole command in the server's protocol."""
    return cast("bytes", pack_command(parts))  # type: ignore[arg-type] # its hint allows a single part
