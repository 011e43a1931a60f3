"""What a database has to offer for messages: a `MessageTable`. Each verb takes items and gives an answer for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from sdpatterns.backends.sqlalchemy.engine.transactions import Transaction

__all__ = ["READS", "Done", "MessageTable", "Verb"]

Verb: TypeAlias = Literal[
    "publish", "claim", "promote", "extend", "settle", "clear", "depth", "withdraw", "parked", "redrive", "discard",
    "sweep",
]  # fmt: skip

READS: frozenset[Verb] = frozenset({"depth", "parked"})
"""The verbs that write nothing."""


class Done(NamedTuple):
    """The answers to the items, and whether a message may have become due."""

    answers: Sequence[Any]
    is_news: bool = False


class MessageTable(Protocol):
    """Runs a verb with the statements of one database, which stand in `postgres/` and `sqlite/`."""

    def is_whole(self, verb: Verb, items: Sequence[Any], /) -> bool:
        """Whether the statements of the verb need one transaction around them."""
        ...

    async def run(
        self, verb: Verb, tx: Transaction, queue: str, items: Sequence[Any], /, *, wait_max_s: float
    ) -> Done | None:
        """Do it; None where another client holds what it needs.

        `wait_max_s` is how long it may wait for that: 0 for not at all, infinity for as long as the connection says.
        """
        ...
