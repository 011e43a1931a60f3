"""The verbs of queues: each takes items and gives an answer for each. See `VerbTable`."""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["COUNTED_MAX", "READS", "Verb"]

Verb: TypeAlias = Literal[
    "publish", "claim", "promote", "extend", "settle", "clear", "depth", "withdraw", "parked", "redrive", "discard",
    "sweep",
]  # fmt: skip

READS: frozenset[Verb] = frozenset({"depth", "parked"})
"""The verbs that write nothing."""

COUNTED_MAX = 10_000
"""How many messages of each kind `depth` looks at. A database counts rows one by one, a million in a second."""
