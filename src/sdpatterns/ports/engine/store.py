"""A whole StateStore on a versioned map: all that a store without scripts needs besides its own I/O."""

from __future__ import annotations

import random as random_module
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from sdpatterns.core.runtime import Runtime
from sdpatterns.errors import BackendUnavailable, OutcomeUnknown, SdpatternsError
from sdpatterns.ports.engine.execute import Races, execute
from sdpatterns.ports.engine.steps import PendingStep
from sdpatterns.ports.engine.versioned import Conflict, VersionedMap, attempt
from sdpatterns.ports.states import Cells, Space
from sdpatterns.ports.timekeeping import StoreClock

__all__ = ["VersionedStates"]

S = TypeVar("S")


class VersionedStates:
    """Keeps state in a versioned map: see `StateStore`.

    A cell's key in the map is the pair of its space and its key, both texts. `runtime` is the one that
    the map's I/O needs, `clock` whose time it gives with what it reads (`SERVER`, or `Skewed(by_s)`), and
    `shown` what the store is called in messages. It does not fold the steps of several callers: each makes
    its own attempts.
    """

    def __init__(
        self,
        cells: VersionedMap,
        *,
        runtime: Runtime,
        clock: StoreClock,
        shown: str,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self.runtime: Runtime | None = runtime
        self.clock = clock
        self._attempts = _Attempts(cells, runtime, shown, random)

    def cells(self, space: Space[S], /) -> Cells[S]:
        """The cells of a space."""
        return Cells(space, self._run)

    async def _run(self, step: PendingStep) -> Any:
        step.names = [(step.space.name, key) for key in step.keys]
        await execute(self._attempts, [step])
        return step.result()


class _Attempts:
    """See `Attempts`."""

    def __init__(self, cells: VersionedMap, runtime: Runtime, shown: str, random: Callable[[], float]) -> None:
        self.shown = shown
        self.runtime = runtime
        self.random = random
        self._cells = cells

    def attempt(self, steps: Sequence[PendingStep], races: Races, /) -> Coroutine[Any, Any, Conflict | None]:
        return attempt(self._cells, steps, races.snapshot)

    def unavailable(self, cause: BaseException | str, /) -> SdpatternsError:
        return cause if isinstance(cause, SdpatternsError) else BackendUnavailable(f"{self.shown}: {cause}")

    def unknown(self, cause: BaseException | str, /) -> SdpatternsError:
        return OutcomeUnknown(f"{self.shown}: {cause}; the step may have happened or not")
