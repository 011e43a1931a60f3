"""What a cell is called on the server: `sdp:space/key`, or `sdp:{group}space/key`.

Different spaces, groups and keys never give the same name, and no brace in a user's word takes part
in choosing a cluster's node.
"""

from __future__ import annotations

import re

from sdpatterns.core.keys import check_key

__all__ = ["cell_name", "cell_space"]

_ODD = re.compile(r"[%{}/]")
_ESCAPES = {"%": "%25", "{": "%7B", "}": "%7D", "/": "%2F"}


def _escaped(word: str, *, slashes: bool) -> str:
    return _ODD.sub(lambda odd: odd[0] if odd[0] == "/" and not slashes else _ESCAPES[odd[0]], word)


def cell_space(prefix: str, space: str, group: str | None) -> bytes:
    """What the names of all cells of a space begin with."""
    if group == "":
        raise ValueError("group must not be empty: an empty hash tag is none")
    tag = "" if group is None else "{" + _escaped(group, slashes=False) + "}"
    return f"{prefix}:{tag}{_escaped(space, slashes=False)}/".encode()


def cell_name(start: bytes, key: str) -> bytes:
    """The name of one cell. Raises what `check_key` does. The first slash ends the space."""
    check_key(key)
    if _ODD.search(key) is not None:
        key = _escaped(key, slashes=True)
    return start + key.encode()
