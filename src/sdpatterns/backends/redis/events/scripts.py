"""The scripts of a log's verbs, and the names of its keys."""

from __future__ import annotations

import functools
from typing import Literal, TypeAlias

from sdpatterns.backends.redis.names import log_head
from sdpatterns.backends.redis.scripts import ServerScript
from sdpatterns.core.script import chunk

__all__ = ["LogKeys", "LogVerb", "log_script"]

LogVerb: TypeAlias = Literal["append", "read", "page", "mark", "oldest", "drop", "thin"]

_PARTS = ("meta", "versions", "all")
"""In the order in which `prelude.lua` names them."""


class LogKeys:
    """The names of a log's keys, all on one node of a cluster."""

    def __init__(self, prefix: str, name: str) -> None:
        self._head = log_head(prefix, name)
        self.whole = tuple(self._head + part.encode() for part in _PARTS)

    def of(self, stream: str | bytes) -> bytes:
        """That of one stream."""
        return self._head + b"/" + (stream.encode() if isinstance(stream, str) else stream)


@functools.cache
def log_script(verb: LogVerb) -> ServerScript:
    """The script of a verb, behind what all of them share."""
    package = __name__.rpartition(".")[0]
    return ServerScript("\n".join(chunk(package, f"{file}.lua") for file in ("prelude", verb)))
