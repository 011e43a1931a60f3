"""The memory backend as one object."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from sdpatterns.backends.memory.signals import MemorySignals
from sdpatterns.backends.memory.states import MemoryStates
from sdpatterns.core.clock import SYSTEM, Clock
from sdpatterns.ports.lifespan import Lifespan

__all__ = ["MemoryBackend"]


class MemoryBackend(Lifespan):
    """Keeps the state and signals of patterns in the memory of this process, for all its threads and loops.

    Keeps what it holds while the object lives; nothing survives the process. Nothing has to be
    opened or closed, so that entering it is allowed and changes nothing.
    """

    def __init__(self, *, clock: Clock = SYSTEM) -> None:
        self.signals = MemorySignals()
        self.states = MemoryStates(clock=clock, signals=self.signals)

    async def create(self) -> None:
        """Nothing to make here; the same call as on the other backends."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None
