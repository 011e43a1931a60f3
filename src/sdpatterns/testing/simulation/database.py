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
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self, TypeVar

from sdpatterns.core.runtime import ASYNCIO, Runtime
from sdpatterns.core.step import GONE, UNCHANGED, Repeats, Step
from sdpatterns.errors import BackendError, VersionConflict
from sdpatterns.ports.engine.steps import PendingStep
from sdpatterns.ports.log import ANY, Appended, Expected, LogSettings, NewEvent, check_append
from sdpatterns.ports.queue import Message, MessageQueue, QueueSettings, check_messages
from sdpatterns.ports.states import Cells, Space
from sdpatterns.ports.timekeeping import SERVER, StoreClock
from sdpatterns.testing.faults import FaultyClient, FaultyQueue
from sdpatterns.testing.simulation.network import NodeLog

if TYPE_CHECKING:
    from sdpatterns.testing.simulation.cluster import Cluster, Node

__all__ = ["NodeTransaction", "TransactionConflict"]

S = TypeVar("S")


class TransactionConflict(BackendError):
    """Another transaction changed what this one has read. Nothing of it happened."""


class NodeTransaction:
    """`async with node.transaction() as within:` commits at the end of the block, unless the block raises.

    `get` and `put` are for rows of your own, of any key. `within` is also what `Outbox.publish`, `Inbox.is_new`,
    `EventStore.append`, `Saga.within` and `job.within` ask for. A node gives it as `node.within(transaction)` too, so
    that a node is the backend of a `Projection`.

    **Keeps**: all of it happens at one moment, as if it were alone, or nothing does.
    **May fail** with `TransactionConflict` (nothing happened) or `BackendUnavailable` (the same), and at the end of
    the block with `OutcomeUnknown`: it may have happened.
    """

    def __init__(self, node: Node, cluster: Cluster) -> None:
        self._node = node
        self._cluster = cluster
        self._read: dict[Hashable, Any] = {}
        self._written: dict[Hashable, Any] = {}
        self._cells: dict[tuple[str, str], _Cell] = {}
        self._topics: set[str] = set()
        self._messages: list[tuple[str, QueueSettings | None, Sequence[Message]]] = []
        self._appends: list[_Append] = []
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

    def log(self, name: str, /, settings: LogSettings | None = None) -> TransactionLog:
        """The log of that name: what is appended is in it when this commits."""
        return TransactionLog(self._node, self._cluster, name, settings, self._appends)

    async def make(self, space: Space[Any], step: PendingStep) -> Any:
        """Make a step on cells, as this transaction sees them."""
        cells = [await self._cell(space, key) for key in step.keys]
        after, answer, keeps_s, topics = step.transition([it.state for it in cells], self._cluster.clock.now_us())
        for cell, state, keep_s in zip(cells, after, keeps_s, strict=True):
            if state is not UNCHANGED:
                cell.put(state, keep_s)
        self._topics.update(topics)
        return answer

    async def _cell(self, space: Space[Any], key: str) -> _Cell:
        name = (space.name, key)
        if name not in self._cells:

            async def look() -> Any:
                """What is committed now."""
                return await self._cluster.states.cells(space).read(key)

            found = await self._node.send(look, repeats="harmless")
            self._cells.setdefault(name, _Cell(space, key, found))
        return self._cells[name]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        writes = (self._written, self._messages, self._appends, [cell for cell in self._cells.values() if cell.is_put])
        if error is None and any(writes):
            await self._node.send(self._commit)

    async def _commit(self) -> None:
        """Runs at the store, at one moment: nothing in it suspends."""
        if await self._is_outdated():
            raise TransactionConflict("another transaction changed what this one has read")
        cluster = self._cluster
        for key, value in self._written.items():
            if value is None:
                cluster.rows.pop(key, None)
            else:
                cluster.rows[key] = value
        for cell in self._cells.values():
            if cell.is_put:
                await cluster.states.cells(cell.space).transact(cell.key, _PutCell(cell.after, cell.keep_s))
        for name, settings, messages in self._messages:
            await cluster.queue(name, settings).publish(messages)
        for it in self._appends:
            await cluster.log(it.name, it.settings).append(it.stream, it.expected, it.events)
        await cluster.backend.signals.notify(*sorted(self._topics))
        cluster.run.note("committed", sorted(map(repr, self._written)))

    async def _is_outdated(self) -> bool:
        cluster = self._cluster
        if any(cluster.rows.get(key) != value for key, value in self._read.items()):
            return True
        for cell in self._cells.values():
            if await cluster.states.cells(cell.space).read(cell.key) != cell.before:
                return True
        appended: set[tuple[str, str]] = set()
        for it in self._appends:
            # The later ones stand behind the first.
            if (it.name, it.stream) not in appended:
                page = await cluster.log(it.name, it.settings).read(it.stream, limit=1, backwards=True)
                if page.version != it.expected:
                    return True
            appended.add((it.name, it.stream))
        return False


class _Cell:
    """A cell that a transaction has read, and what it makes of it."""

    def __init__(self, space: Space[Any], key: str, before: Any) -> None:
        self.space = space
        self.key = key
        self.before = before
        self.after: Any = UNCHANGED
        self.keep_s = 0.0

    @property
    def is_put(self) -> bool:
        """Whether it is changed."""
        return self.after is not UNCHANGED

    @property
    def state(self) -> Any:
        """As the transaction sees it."""
        if self.is_put:
            return None if self.after is GONE else self.after
        return self.before

    def put(self, state: Any, keep_s: float) -> None:
        """Write it when the transaction commits."""
        self.after, self.keep_s = state, keep_s


class _PutCell:
    """What a transaction wrote."""

    repeats: ClassVar[Repeats] = "unsafe"
    script = None

    def __init__(self, state: Any, keep_s: float) -> None:
        self._state = state
        self._keep_s = keep_s

    def __call__(self, states: Sequence[Any], now_us: int, /) -> Step[Any, None]:
        return (self._state,), None, (self._keep_s,), ()


class _Append(NamedTuple):
    """Events that a transaction appends when it commits."""

    name: str
    settings: LogSettings | None
    stream: str
    expected: int
    events: Sequence[NewEvent]


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
            return self._transaction.make(space, step)

        return Cells(space, run)


class TransactionLog(NodeLog):
    """A log inside a transaction: what is appended waits for the commit, and has its position only then (here 0)."""

    def __init__(
        self, node: Node, cluster: Cluster, name: str, settings: LogSettings | None, appends: list[_Append]
    ) -> None:
        super().__init__(cluster.log(name, settings), node.client, node.signals)
        self._settings = settings
        self._appends = appends

    async def append(self, stream: str, expected: Expected, events: Sequence[NewEvent], /) -> Appended:
        check_append(stream, expected, events, self._settings or LogSettings())
        waiting = sum(len(it.events) for it in self._appends if (it.name, it.stream) == (self.name, stream))
        found = (await self.read(stream, limit=1, backwards=True)).version + waiting
        if expected is not ANY and expected != found:
            raise VersionConflict(self.name, stream, expected, found)
        self._appends.append(_Append(self.name, self._settings, stream, found, events))
        return Appended(found + len(events), 0)


class TransactionQueue(FaultyQueue):
    """A queue inside a transaction: what is published waits for the commit; the other verbs are as outside of it."""

    def __init__(self, inner: MessageQueue, client: FaultyClient, keep: Callable[[Sequence[Message]], None]) -> None:
        super().__init__(inner, client)
        self._keep = keep

    async def publish(self, messages: Sequence[Message], /) -> Sequence[bool]:
        check_messages(messages, QueueSettings())
        self._keep(messages)
        return [True] * len(messages)
