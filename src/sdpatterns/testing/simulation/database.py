"""Rows, cells and messages of the simulated store that change together: transactions, as a node makes them.

```
begin -- read -- read -- write -- commit        reads are checked when it commits: what another one changed
                                    |           since ends it with `TransactionConflict`, and nothing happened
                                    +---------- all writes and messages at one moment, or none
```
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from sdpatterns.core.runtime import ASYNCIO, Runtime
from sdpatterns.core.step import GONE, UNCHANGED
from sdpatterns.errors import BackendError
from sdpatterns.ports.engine.steps import PendingStep
from sdpatterns.ports.queue import Message, MessageQueue, QueueSettings, check_messages
from sdpatterns.ports.states import Cells, Space
from sdpatterns.ports.timekeeping import SERVER, StoreClock
from sdpatterns.testing.faults import FaultyClient, FaultyQueue

if TYPE_CHECKING:
    from sdpatterns.testing.simulation.cluster import Cluster, Node

__all__ = ["NodeTransaction", "TransactionConflict"]

S = TypeVar("S")


class TransactionConflict(BackendError):
    """Another transaction changed what this one has read. Nothing of it happened."""


class NodeTransaction:
    """`async with node.transaction() as within:` commits at the end of the block, unless the block raises.

    `get` and `put` are for rows of your own, of any key. `within` is also what `Outbox.publish`, `Inbox.is_new` and
    `job.within` ask for.

    **Keeps**: all of it happens at one moment, as if it were alone, or nothing does.
    **May fail** with `TransactionConflict` (nothing happened) or `BackendUnavailable` (the same), and at the end of
    the block with `OutcomeUnknown`: it may have happened.
    """

    def __init__(self, node: Node, cluster: Cluster) -> None:
        self._node = node
        self._cluster = cluster
        self._read: dict[Hashable, Any] = {}
        self._written: dict[Hashable, Any] = {}
        self._messages: list[tuple[str, QueueSettings | None, Sequence[Message]]] = []
        self.states = TransactionStates(self)

    async def get(self, key: Hashable) -> Any:
        """A row, as this transaction sees it; None where there is none."""
        if key in self._written:
            return self._written[key]
        if key not in self._read:

            async def look() -> Any:
                """What is committed now."""
                return self._cluster.rows.get(key)

            found = await self._node.send(look, repeats="harmless")
            self._read.setdefault(key, found)
        return self._read[key]

    def put(self, key: Hashable, value: Any) -> None:
        """Write a row when it commits; None takes it away."""
        self._written[key] = value

    def queue(self, name: str, /, settings: QueueSettings | None = None) -> TransactionQueue:
        """The queue of that name: what is published is in it when this commits."""
        inner = self._cluster.queue(name, settings)
        return TransactionQueue(
            inner, self._node.client, lambda messages: self._messages.append((name, settings, messages))
        )

    def now_us(self) -> int:
        """The store's time."""
        return self._cluster.clock.now_us()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and (self._written or self._messages):
            await self._node.send(self._commit)

    async def _commit(self) -> None:
        """Runs at the store, at one moment."""
        rows = self._cluster.rows
        if any(rows.get(key) != value for key, value in self._read.items()):
            raise TransactionConflict("another transaction changed what this one has read")
        for key, value in self._written.items():
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = value
        for name, settings, messages in self._messages:
            await self._cluster.queue(name, settings).publish(messages)
        self._cluster.run.note("committed", sorted(map(repr, self._written)))


class TransactionStates:
    """The cells inside a transaction: a `StateStore`."""

    runtime: Runtime | None = ASYNCIO
    clock: StoreClock = SERVER

    def __init__(self, transaction: NodeTransaction) -> None:
        self._transaction = transaction

    def cells(self, space: Space[S], /) -> Cells[S]:
        """The cells of a space, as this transaction sees them."""

        def run(step: PendingStep) -> Coroutine[Any, Any, Any]:
            """Make a step of this space."""
            return self._run(space.name, step)

        return Cells(space, run)

    async def _run(self, space: str, step: PendingStep) -> Any:
        transaction = self._transaction
        names = [(space, key) for key in step.keys]
        states = [await transaction.get(name) for name in names]
        after, answer, *_ = step.transition(states, transaction.now_us())
        for name, state in zip(names, after, strict=True):
            if state is not UNCHANGED:
                transaction.put(name, None if state is GONE else state)
        return answer


class TransactionQueue(FaultyQueue):
    """A queue inside a transaction: what is published waits for the commit; the other verbs are as outside of it."""

    def __init__(self, inner: MessageQueue, client: FaultyClient, keep: Callable[[Sequence[Message]], None]) -> None:
        super().__init__(inner, client)
        self._keep = keep

    async def publish(self, messages: Sequence[Message], /) -> Sequence[bool]:
        check_messages(messages, QueueSettings())
        self._keep(messages)
        return [True] * len(messages)
