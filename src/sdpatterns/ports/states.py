"""StateStore: one atomic step on one cell, or on several.

```
states.cells(Space("limiter/api", codec))   once, when a pattern is built; opens nothing
    .transact(key, transition)              the only await that matters
```

A pattern asks once for its *cells*: a named space of keys with one codec. That is where a backend
prepares what every step shares (a memory table of its own, a key prefix, a column value), and where
the bound on the number of keys is set.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast, runtime_checkable

from sdpatterns.core.keys import check_key
from sdpatterns.core.runtime import Runtime
from sdpatterns.core.step import Transition
from sdpatterns.ports.engine.steps import DROP, LOOK, PendingStep
from sdpatterns.ports.space import KEYS_MAX, Overflow, Space
from sdpatterns.ports.timekeeping import StoreClock

__all__ = [
    "KEYS_MAX",
    "Cells",
    "DirectCells",
    "ForgetfulStore",
    "Overflow",
    "Run",
    "Space",
    "StateStore",
    "check_store",
    "rely_on",
    "where_of",
]

S = TypeVar("S")
A = TypeVar("A")

Run: TypeAlias = Callable[[PendingStep], Coroutine[Any, Any, Any]]
"""Makes one step, and gives its answer. All that a store does for its cells."""


class Cells(Generic[S]):
    """Makes atomic steps on the cells of one space. Its five verbs are steps for one `run`.

    Keeps: steps on one cell happen one after another, each on the state the last one left; a step
    happens wholly or not at all; `now_us` never goes back for a cell; a cell is not dropped before
    its `keep_s` has passed; `wake` topics are notified once the step is durable, never before. A key
    is the same text on every store: any characters, at most 1,024 bytes, no half of one (`check_key`).

    May fail with `BackendUnavailable` (nothing happened), `OutcomeUnknown` (the reply was lost and
    the transition's `repeats` is `"unsafe"`), `UnknownVersion`, or cancellation (the step may then
    have happened or not, as with a lost reply). It does not fail because other clients write the same
    cell: it waits for its turn until the caller's deadline.
    """

    def __init__(self, space: Space[S], run: Run) -> None:
        self.space = space
        self._run = run

    def run(self, step: PendingStep, /) -> Coroutine[Any, Any, Any]:
        """Make one step on these cells, and give its answer. A wrapper of a store wraps this alone."""
        return self._run(step)

    async def transact(self, key: str, transition: Transition[S, A], /) -> A:
        """Run the transition on the cell `key` and return its answer."""
        return cast("A", await self.run(PendingStep(self.space, (check_key(key),), transition)))

    async def transact_many(self, keys: Sequence[str], transition: Transition[S, A], /) -> A:
        """Run one transition on several different cells: all of it or nothing.

        On a Redis Cluster the space needs a `group`, else TypeError before anything is sent.
        """
        if not keys or len(set(keys)) != len(keys):
            raise ValueError("one step needs different keys, and at least one")
        return cast("A", await self.run(PendingStep(self.space, tuple(map(check_key, keys)), transition)))

    async def read(self, key: str, /) -> S | None:
        """The state of a cell; it may be past an instant inside it that only a step would judge."""
        return (await self.read_many((key,)))[0]

    async def read_many(self, keys: Sequence[str], /) -> list[S | None]:
        """The states of several cells, in order, each as it was at some moment of the call."""
        if not keys:
            return []
        step = PendingStep(self.space, tuple(map(check_key, keys)), LOOK, reads=True)
        return cast("list[S | None]", await self.run(step))

    async def delete(self, key: str, /) -> None:
        """Forget a cell."""
        await self.run(PendingStep(self.space, (check_key(key),), DROP))


@runtime_checkable
class DirectCells(Protocol[S]):
    """Cells of a store that never suspends: the same step without an await."""

    def transact_now(self, key: str, transition: Transition[S, A], /) -> A:
        """Run the transition on the cell `key` at once."""
        ...


@runtime_checkable
class ForgetfulStore(Protocol):
    """A store whose server may be set to lose steps that it has answered."""

    def relied_on_by(self, who: str, /) -> None:
        """Take note that such a loss would harm `who`; warn of it, once, when the server is found so set."""
        ...


class StateStore(Protocol):
    """Keeps the state of patterns. `runtime` is the one that its I/O needs, None for a store that never waits.

    `clock` says how well its clients agree on the time: see `timekeeping`.
    """

    runtime: Runtime | None
    clock: StoreClock

    def cells(self, space: Space[S], /) -> Cells[S]:
        """The cells of a space. Opens nothing; the same space is the same cells."""
        ...


def where_of(store: StateStore | None) -> str:
    """Where a pattern keeps its state, for its `repr`."""
    return "in this process" if store is None else f"in {type(store).__name__}"


def check_store(store: StateStore) -> None:
    """Raise TypeError for what is no store, such as the backend that has one."""
    if not (hasattr(store, "runtime") and callable(getattr(store, "cells", None))):
        raise TypeError(f"store must be a StateStore, such as backend.states; got {type(store).__name__}")


def rely_on(store: StateStore, who: str) -> None:
    """Say to a store that `who` would be harmed if it lost a step; one that loses none needs no saying."""
    if isinstance(store, ForgetfulStore):
        store.relied_on_by(who)
