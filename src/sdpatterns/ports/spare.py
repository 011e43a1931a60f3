"""Cells for a store that may be full: a step that finds no room there is made in this process.

```
step ---> store                              room: there, as ever
            └─ full ---> read its state ---> the same step on bounded cells here
```
A full store is not an outage: a client that sprays keys can fill it, and must not lift a limit by that.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from time import monotonic
from typing import Any, ClassVar, Generic, TypeVar

from sdpatterns.core.forks import new_lock
from sdpatterns.core.notices import LISTENERS, Notice, tell
from sdpatterns.core.step import Repeats, Step, Transition
from sdpatterns.errors import BackendFull
from sdpatterns.ports.engine.steps import LOOK, Drop, PendingStep
from sdpatterns.ports.local import LocalCells
from sdpatterns.ports.states import Cells

__all__ = ["CountedHere", "SpareCells"]

S = TypeVar("S")
A = TypeVar("A")

_SPARE_KEYS_MAX = 65_536
_WARN_EVERY_S = 60.0

_log = logging.getLogger("sdpatterns")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CountedHere(Notice):
    """The store was full, so that a step was made on cells of this process. `name` is the guard's."""

    error: str

    def labels(self) -> dict[str, str]:
        """The guard."""
        return {"name": self.name}


class _Seeded(Generic[S, A]):
    """A transition that begins, in cells that are not here yet, from what the full store still holds."""

    __slots__ = ("_held", "_transition")
    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __init__(self, transition: Transition[S, A], held: Sequence[S | None]) -> None:
        self._transition = transition
        self._held = held

    def __call__(self, states: Sequence[S | None], now_us: int, /) -> Step[S, A]:
        begun = [held if state is None else state for state, held in zip(states, self._held, strict=True)]
        return self._transition(begun, now_us)


class SpareCells(Cells[S]):
    """See `Cells`: those of a store and, while it is full, bounded ones of this process.

    **Keeps**: while the store is full a key's steps go on from the state that the store holds, and
    each process counts by itself: n processes may let pass n times what one does.
    **May fail** as the store's cells do, but with no `BackendFull`. **Costs**: nothing while there is
    room; while there is none a read more, and up to 65,536 keys in this process.
    """

    def __init__(self, cells: Cells[S], whose: str, name: str) -> None:
        super().__init__(cells.space, cells.run)
        self._whose = whose
        self._name = name
        self._lock = new_lock()
        self._here: LocalCells[S] | None = None
        self._warn_after = 0.0

    async def run(self, step: PendingStep, /) -> Any:
        """Make the step in the store, or here while that is full."""
        if isinstance(step.transition, Drop) and self._here is not None:
            await self._here.run(step)
        try:
            return await self._run(step)
        except BackendFull as full:
            self._tell(full)
        held = await self._run(PendingStep(self.space, step.keys, LOOK, reads=True))
        return self._local().transact_many_now(step.keys, _Seeded(step.transition, held))

    def _local(self) -> LocalCells[S]:
        with self._lock:
            if self._here is None:
                most = min(self.space.keys_max, _SPARE_KEYS_MAX)
                self._here = LocalCells(dataclasses.replace(self.space, name=self._name, keys_max=most))
            return self._here

    def _tell(self, full: BackendFull) -> None:
        now = monotonic()
        if now >= self._warn_after:
            self._warn_after = now + _WARN_EVERY_S
            _log.warning("%s: its store is full, this process counts by itself: %s", self._whose, full)
        if LISTENERS:
            tell(CountedHere(name=self._name, error=str(full)))
