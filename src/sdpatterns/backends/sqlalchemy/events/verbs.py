"""The verbs of logs: each takes items and gives an answer for each. See `VerbTable`."""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["READS", "Verb"]

Verb: TypeAlias = Literal["append", "read", "page", "mark", "drop"]

READS: frozenset[Verb] = frozenset({"read", "page"})
"""The verbs that write nothing."""
