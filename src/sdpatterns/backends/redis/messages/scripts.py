"""The scripts of a queue's verbs, and the names of its keys."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal, TypeAlias

from sdpatterns.backends.redis.names import queue_head
from sdpatterns.backends.redis.scripts import ServerScript
from sdpatterns.core.script import chunk

__all__ = ["QueueVerb", "queue_keys", "queue_script"]

QueueVerb: TypeAlias = Literal[
    "publish", "claim", "extend", "settle", "depth", "withdraw", "parked", "redrive", "discard"
]  # fmt: skip

_PARTS = ("last", "meta", "body", "ready", "ring", "delayed", "leases", "heads", "behind", "parked", "credits")
"""In the order in which `prelude.lua` names them."""


def queue_keys(prefix: str, name: str) -> Sequence[bytes]:
    """The keys of a queue, all on one node of a cluster."""
    head = queue_head(prefix, name)
    return tuple(head + part.encode() for part in _PARTS)


@functools.cache
def queue_script(verb: QueueVerb) -> ServerScript:
    """The script of a verb, behind what all of them share."""
    package = __name__.rpartition(".")[0]
    files = ("prelude", *(("plain",) if verb == "publish" else ()), "records", verb)
    return ServerScript("\n".join(chunk(package, f"{file}.lua") for file in files))
