"""What a cell is called on the server: `sdp:space/key`, or `sdp:{group}space/key`.

Different spaces, groups and keys never give the same name, and no brace in a user's word takes part
in choosing a cluster's node.
"""

from __future__ import annotations

import re

__all__ = ["cell_name", "cell_space", "log_head", "queue_head", "turn_head", "turn_name"]

_ODD = re.compile(r"[%{}/]")
_ESCAPES = {"%": "%25", "{": "%7B", "}": "%7D", "/": "%2F"}


def _escaped(word: str, *, slashes: bool) -> str:
    return _ODD.sub(lambda odd: odd[0] if odd[0] == "/" and not slashes else _ESCAPES[odd[0]], word)


def cell_space(prefix: str, space: str, group: str | None) -> bytes:
    """What the names of all cells of a space begin with."""
    tag = "" if group is None else "{" + _escaped(group, slashes=False) + "}"
    return f"{prefix}:{tag}{_escaped(space, slashes=False)}/".encode()


def turn_head(prefix: str) -> bytes:
    """What the names of all turns begin with. No cell's name does: there a `%` stands before two digits."""
    return f"{prefix}:%turn".encode()


def turn_name(head: bytes, cell: bytes) -> bytes:
    """The name of the turn to write a cell, on the cell's node."""
    begin = len(head) - len(b"%turn")
    return head + (cell[begin:] if cell[begin : begin + 1] == b"{" else b"{%b}" % cell)


def queue_head(prefix: str, name: str) -> bytes:
    """What the names of a queue's keys begin with. No cell's name does, for the same reason as with a turn."""
    # Not the name alone, because an empty hash tag is none.
    return f"{prefix}:{{%queue/{_escaped(name, slashes=False)}}}".encode()


def log_head(prefix: str, name: str) -> bytes:
    """What the names of a log's keys begin with."""
    return f"{prefix}:{{%log/{_escaped(name, slashes=False)}}}".encode()


def cell_name(start: bytes, key: str) -> bytes:
    """The name of one cell, for a key that was checked. The first slash ends the space."""
    if _ODD.search(key) is not None:
        key = _escaped(key, slashes=True)
    return start + key.encode()
