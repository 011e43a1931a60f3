"""What really happened in a store, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple, TypeVar

from sdpatterns.core.runtime import Runtime
from sdpatterns.ports.engine.steps import Drop, PendingStep
from sdpatterns.ports.states import Cells, Space, StateStore

__all__ = ["Happened", "WatchedStates"]

S = TypeVar("S")


class Happened(NamedTuple):
    """One executed step: on which cells, which transition, the store's time, and its answer."""

    keys: tuple[str, ...]
    step: Any
    now_us: int
    answer: Any


class _Watched:
    """A transition that reports what it decided."""

    script = None

    def __init__(self, step: Any, keys: Sequence[str], tell: Callable[[Happened], None]) -> None:
        self.repeats = step.repeats
        self._step = step
        self._keys = tuple(keys)
        self._tell = tell

    def __call__(self, states: Any, now_us: int, /) -> Any:
        decided = self._step(states, now_us)
        self._tell(Happened(self._keys, self._step, now_us, decided[1]))
        return decided


class WatchedStates:
    """A store that calls `tell` with each step at the moment at which it takes effect.

    The store inside must run a transition once per step, as memory does.
    """

    def __init__(self, inner: StateStore, tell: Callable[[Happened], None]) -> None:
        self.runtime: Runtime | None = inner.runtime
        self.clock = inner.clock
        self._inner = inner
        self._tell = tell

    def cells(self, space: Space[S], /) -> Cells[S]:
        """The cells of the store inside, watched."""
        inner = self._inner.cells(space)

        def run(step: PendingStep) -> Coroutine[Any, Any, Any]:
            """Make the step inside, and record it unless it only reads or drops."""
            if step.reads or isinstance(step.transition, Drop):
                return inner.run(step)
            watched: Any = _Watched(step.transition, step.keys, self._tell)
            return inner.run(PendingStep(space, step.keys, watched))

        return Cells(space, run)
