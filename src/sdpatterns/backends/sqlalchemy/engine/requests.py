"""Requests to a port on their way, and those of one flush as one unit of work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from sdpatterns.backends.sqlalchemy.engine.transactions import Transaction
from sdpatterns.core import clock
from sdpatterns.core.context import Until, deadline_at

__all__ = ["Done", "RequestUnit", "VerbRequest", "VerbTable"]


class Done(NamedTuple):
    """The answers to the items, and whether there is news for those who wait."""

    answers: Sequence[Any]
    is_news: bool = False


class VerbTable(Protocol):
    """Runs a port's verbs with the statements of one database, which stand in `postgres/` and `sqlite/`."""

    def is_whole(self, verb: Any, items: Sequence[Any], /) -> bool:
        """Whether the statements of the verb need one transaction around them."""
        ...

    async def run(
        self, verb: Any, tx: Transaction, name: str, items: Sequence[Any], /, *, wait_max_s: float
    ) -> Done | None:
        """Do it for the queue or log of that name; None where another client holds what it needs.

        `wait_max_s` is how long it may wait for that: 0 for not at all, infinity for as long as the connection says.
        """
        ...


class VerbRequest:
    """What one caller asks of a queue or log: a verb and its items, then an answer for each, or an error.

    `held` says that nothing of it happened, because another client holds what it needs; `in_doubt`, that an earlier
    attempt may have happened, because its reply was lost; `is_abandoned`, that its caller is gone. `is_harmless` says
    that a second attempt changes nothing.
    """

    __slots__ = (
        "answers", "deadline", "error", "held", "in_doubt", "is_abandoned", "is_done", "is_harmless", "items", "name",
        "verb",
    )  # fmt: skip

    def __init__(self, verb: str, name: str, items: Sequence[Any], *, is_harmless: bool = True) -> None:
        self.verb = verb
        self.name = name
        self.items = items
        self.is_harmless = is_harmless
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


class RequestUnit:
    """See `Unit`: requests of one verb to one queue or log.

    `news` are the topics to announce where there is news, or may be because a reply was lost. `done` is what came of
    the requests, None where another client is in the way.
    """

    __slots__ = (
        "_items", "_name", "_news", "_table", "_verb", "_wait_max_s", "done", "doubt", "fresh", "is_whole", "reads",
        "topics",
    )  # fmt: skip

    def __init__(
        self,
        table: VerbTable,
        requests: Sequence[VerbRequest],
        wait_max_s: float,
        *,
        reads: bool,
        news: Sequence[str],
    ) -> None:
        first = requests[0]
        self._table = table
        self._verb = first.verb
        self._name = first.name
        self._news = news
        self._wait_max_s = wait_max_s
        self._items = first.items if len(requests) == 1 else [item for each in requests for item in each.items]
        self.reads = reads
        # What may wait for others says for how long, which holds until the end of a transaction.
        self.is_whole = wait_max_s > 0 or table.is_whole(first.verb, self._items)
        self.doubt = False
        self.fresh = False
        self.topics: Sequence[str] = ()
        self.done: Done | None = None

    async def run(self, tx: Transaction, /, *, in_transaction: bool) -> bool:
        """Do it; whether to keep it."""
        # Without a transaction a statement commits itself, so that its lost reply leaves it in doubt.
        self.doubt = not in_transaction and not self.reads
        if self.doubt:
            self.topics = self._news
        self.done = await self._table.run(self._verb, tx, self._name, self._items, wait_max_s=self._wait_max_s)
        self.doubt = False
        is_news = self.done is not None and self.done.is_news
        self.topics = self._news if is_news else ()
        return self.done is not None

    @property
    def answers(self) -> Sequence[Any]:
        """Those of a unit that is done."""
        return () if self.done is None else self.done.answers

    async def clean_up(self, tx: Transaction, /) -> None:
        """Nothing."""
