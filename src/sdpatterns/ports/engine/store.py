"""A whole StateStore on a versioned map: all that a store without scripts needs besides its own I/O."""

from __future__ import annotations

import random as random_module
from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import Any, TypeVar

from sdpatterns.core.runtime import Runtime
from sdpatterns.errors import BackendUnavailable, OutcomeUnknown, SdpatternsError
from sdpatterns.ports.engine.execute import Races, execute
from sdpatterns.ports.engine.failures import NotSent
from sdpatterns.ports.engine.lines import MANY, Lines
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
    `shown` what the store is called in messages. Without `lines` each caller makes its own attempts; with
    them the steps that wait for a cell are made together, and those who wait behind a server that does not
    answer fail with the first.
    """

    def __init__(
        self,
        cells: VersionedMap,
        *,
        runtime: Runtime,
        clock: StoreClock,
        shown: str,
        random: Callable[[], float] = random_module.random,
        lines: Callable[[], Lines] | None = None,
    ) -> None:
        self.runtime: Runtime | None = runtime
        self.clock = clock
        self._attempts = _Attempts(cells, runtime, shown, random)
        self._lines = lines

    def cells(self, space: Space[S], /) -> Cells[S]:
        """The cells of a space."""
        return Cells(space, self._run)

    async def _run(self, step: PendingStep) -> Any:
        step.names = [(step.space.name, key) for key in step.keys]
        # A read does not wait in a line, because it needs no single moment.
        if self._lines is None or step.reads:
            await execute(self._attempts, [step])
            return step.result()
        try:
            await self._lines().run(_line_of(step), step, self._settle)
        except NotSent as away:
            raise self._attempts.unavailable(away.cause) from away
        return step.result()

    async def _settle(self, steps: Sequence[PendingStep]) -> Sequence[PendingStep]:
        """The steps of one line, each with its answer or its error, all written at once."""
        late = await execute(self._attempts, steps)
        if late is not None and self._lines is not None:
            # They have waited for as long as these steps did, which is as long as one may.
            self._lines().send_away(_line_of(steps[0]), NotSent(late.cause))
        return steps


def _line_of(step: PendingStep) -> Hashable:
    return step.names[0] if len(step.names) == 1 else MANY


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
