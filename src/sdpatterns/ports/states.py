"""StateStore: one atomic step on one cell.

```
states.cells("limiter/api", codec)   once, when a pattern is built; opens nothing
    .transact(key, transition)       the only await that matters
```

A pattern asks once for its *cells*: a named space of keys with one codec. That is where a backend
prepares what every step shares (a memory table of its own, a key prefix, a column value), and where
the bound on the number of keys is set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

from sdpatterns.core.codec import Codec
from sdpatterns.core.runtime import Runtime
from sdpatterns.core.step import ManyTransition, Transition

__all__ = [
    "KEYS_MAX",
    "Cells",
    "DirectCells",
    "ForgetfulStore",
    "Overflow",
    "StateStore",
    "check_store",
    "rely_on",
    "where_of",
]

S = TypeVar("S")
A = TypeVar("A")

KEYS_MAX = 1_048_576
"""Default bound on the live keys of one space, where the backend itself has to hold them."""

Overflow: TypeAlias = Literal["share", "refuse"] | Callable[[str], str]
"""What a new key gets when the space is full: one cell shared by all new keys, or `BackendFull`; or
the shared cell that a function names for it (one of few), where keys of several kinds share a space."""


class Cells(Protocol[S]):
    """The cells of one space.

    Keeps: steps on one cell happen one after another, each on the state the last one left; a step
    happens wholly or not at all; `now_us` never goes back for a cell; a cell is not dropped before
    its `keep_s` has passed; `wake` topics are notified once the step is durable, never before. A key
    is the same text on every store: any characters, at most 1,024 bytes, no half of one (`check_key`).

    May fail with `BackendUnavailable` (nothing happened), `OutcomeUnknown` (the reply was lost and
    the transition's `repeats` is `"unsafe"`), `UnknownVersion`, or cancellation (the step may then
    have happened or not, as with a lost reply).
    """

    async def transact(self, key: str, transition: Transition[S, A], /) -> A:
        """Run the transition on the cell `key` and return its answer."""
        ...

    async def transact_many(self, keys: Sequence[str], transition: ManyTransition[S, A], /) -> A:
        """Run one transition on several different cells: all of it or nothing.

        On a Redis Cluster the space needs a `group`, else TypeError before anything is sent.
        """
        ...

    async def read(self, key: str, /) -> S | None:
        """The state of a cell; it may be past an instant inside it that only a step would judge."""
        ...

    async def read_many(self, keys: Sequence[str], /) -> list[S | None]:
        """The states of several cells, in order."""
        ...

    async def delete(self, key: str, /) -> None:
        """Forget a cell."""
        ...


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
    """Keeps the state of patterns. `runtime` is the one that its I/O needs, None for a store that never waits."""

    runtime: Runtime | None

    def cells(
        self,
        space: str,
        codec: Codec[S],
        /,
        *,
        group: str | None = None,
        keys_max: int = KEYS_MAX,
        overflow: Overflow = "share",
    ) -> Cells[S]:
        """The cells named `space`. Opens nothing; the same space is the same cells.

        `group` puts all of them on one node of a cluster, which steps on several cells need.
        """
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
