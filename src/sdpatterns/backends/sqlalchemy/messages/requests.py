"""Requests to a queue on their way, and those of one flush as one unit of work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sdpatterns.backends.sqlalchemy.engine.texts import given_text
from sdpatterns.backends.sqlalchemy.engine.transactions import Transaction
from sdpatterns.backends.sqlalchemy.messages.table import READS, Done, MessageTable, Verb
from sdpatterns.core import clock
from sdpatterns.core.context import Until, deadline_at
from sdpatterns.ports.queue import topic_of

__all__ = ["QueueRequest", "QueueUnit"]


class QueueRequest:
    """What one caller asks of a queue: a verb and its items, then an answer for each, or an error.

    `held` says that nothing of it happened, because another client holds what it needs; `in_doubt`, that an earlier
    attempt may have happened, because its reply was lost; `is_abandoned`, that its caller is gone.
    """

    __slots__ = (
        "answers", "deadline", "error", "held", "in_doubt", "is_abandoned", "is_done", "items", "queue", "verb",
    )  # fmt: skip

    def __init__(self, verb: Verb, queue: str, items: Sequence[Any]) -> None:
        self.verb: Verb = verb
        self.queue = queue
        self.items = items
        # Taken here, because the task that carries it out has another context.
        self.deadline = deadline_at.get()
        self.answers: Sequence[Any] = ()
        self.error: Exception | None = None
        self.held = ""
        self.in_doubt = False
        self.is_done = False
        self.is_abandoned = False

    def end(self, answers: Sequence[Any]) -> None:
        """It happened."""
        self.answers = answers
        self.is_done = True

    def fail(self, error: Exception) -> None:
        """It ends with an error of its own."""
        self.error = error
        self.is_done = True

    def hold(self, by: str) -> None:
        """Another client holds what it needs."""
        self.held = by
        self.is_done = True

    def renew(self) -> None:
        """As if it had not run yet."""
        self.held = ""
        self.is_done = False

    @property
    def left_s(self) -> float | None:
        """The seconds until its caller's deadline; None without one, and after it ended."""
        at = self.deadline
        if at is None or (isinstance(at, Until) and at.is_over):
            return None
        return at - clock.SYSTEM.monotonic()


class QueueUnit:
    """See `Unit`: requests of one verb to one queue.

    `done` is what came of them, None where another client is in the way.
    """

    __slots__ = (
        "_items",
        "_queue",
        "_table",
        "_verb",
        "_wait_max_s",
        "done",
        "doubt",
        "fresh",
        "is_whole",
        "reads",
        "topics",
    )

    def __init__(self, table: MessageTable, requests: Sequence[QueueRequest], wait_max_s: float) -> None:
        first = requests[0]
        self._table = table
        self._verb: Verb = first.verb
        self._queue = first.queue
        self._wait_max_s = wait_max_s
        self._items = first.items if len(requests) == 1 else [item for each in requests for item in each.items]
        self.reads = first.verb in READS
        self.is_whole = table.is_whole(first.verb, self._items)
        self.doubt = False
        self.fresh = False
        self.topics: Sequence[str] = ()
        self.done: Done | None = None

    async def run(self, tx: Transaction, /, *, in_transaction: bool) -> bool:
        """Do it; whether to keep it."""
        # Without a transaction a statement commits itself, so that its lost reply leaves it in doubt.
        self.doubt = not in_transaction and not self.reads
        if self.doubt and self._verb != "claim":
            self.topics = (topic_of(given_text(self._queue)),)
        self.done = await self._table.run(self._verb, tx, self._queue, self._items, wait_max_s=self._wait_max_s)
        self.doubt = False
        is_news = self.done is not None and self.done.is_news
        self.topics = (topic_of(given_text(self._queue)),) if is_news else ()
        return self.done is not None

    @property
    def answers(self) -> Sequence[Any]:
        """Those of a unit that is done."""
        return () if self.done is None else self.done.answers

    async def clean_up(self, tx: Transaction, /) -> None:
        """Nothing."""
