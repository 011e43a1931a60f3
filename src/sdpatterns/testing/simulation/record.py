"""What really happened in a store, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar, cast

from sdpatterns.core.codec import Codec
from sdpatterns.core.runtime import Runtime
from sdpatterns.core.step import ManyTransition, Transition
from sdpatterns.ports.states import KEYS_MAX, Cells, Overflow, StateStore

__all__ = ["Happened", "WatchedStates"]

S = TypeVar("S")
A = TypeVar("A")


class Happened(NamedTuple):
    """One executed step: on which cells, which transition, the store's time, and its answer."""

    keys: tuple[str, ...]
    step: Any
    now_us: int
    answer: Any


class _Watched:
    """A transition that reports what it decided."""

    twin = None

    def __init__(self, step: Any, keys: tuple[str, ...], tell: Callable[[Happened], None]) -> None:
        self.repeats = step.repeats
        self._step = step
        self._keys = keys
        self._tell = tell

    def __call__(self, state: Any, now_us: int, /) -> Any:
        decided = self._step(state, now_us)
        self._tell(Happened(self._keys, self._step, now_us, decided[1]))
        return decided


class WatchedStates:
    """A store that calls `tell` with each step at the moment at which it takes effect.

    The store inside must run a transition once per step, as memory does.
    """

    def __init__(self, inner: StateStore, tell: Callable[[Happened], None]) -> None:
        self.runtime: Runtime | None = inner.runtime
        self._inner = inner
        self._tell = tell

    def cells(
        self,
        space: str,
        codec: Codec[S],
        /,
        *,
        group: str | None = None,
        keys_max: int = KEYS_MAX,
        overflow: Overflow = "share",
    ) -> WatchedCells[S]:
        """The cells of the store inside, watched."""
        return WatchedCells(
            self._inner.cells(space, codec, group=group, keys_max=keys_max, overflow=overflow), self._tell
        )


class WatchedCells(Generic[S]):
    """See `Cells`."""

    def __init__(self, inner: Cells[S], tell: Callable[[Happened], None]) -> None:
        self._inner = inner
        self._tell = tell

    async def transact(self, key: str, transition: Transition[S, A], /) -> A:
        """The step, recorded."""
        return await self._inner.transact(key, cast("Transition[S, A]", _Watched(transition, (key,), self._tell)))

    async def transact_many(self, keys: Sequence[str], transition: ManyTransition[S, A], /) -> A:
        """The step, recorded."""
        watched = cast("ManyTransition[S, A]", _Watched(transition, tuple(keys), self._tell))
        return await self._inner.transact_many(keys, watched)

    async def read(self, key: str, /) -> S | None:
        """As the cells inside."""
        return await self._inner.read(key)

    async def read_many(self, keys: Sequence[str], /) -> list[S | None]:
        """As the cells inside."""
        return await self._inner.read_many(keys)

    async def delete(self, key: str, /) -> None:
        """As the cells inside."""
        await self._inner.delete(key)
