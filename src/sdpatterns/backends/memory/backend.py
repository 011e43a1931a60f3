"""The memory backend as one object."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from sdpatterns.backends.memory.log import MemoryLog
from sdpatterns.backends.memory.queue import MemoryQueue
from sdpatterns.backends.memory.signals import MemorySignals
from sdpatterns.backends.memory.states import MemoryStates
from sdpatterns.core.clock import SYSTEM, Clock
from sdpatterns.core.forks import new_lock
from sdpatterns.core.keys import check_name
from sdpatterns.ports.lifespan import Lifespan
from sdpatterns.ports.log import LogSettings
from sdpatterns.ports.queue import QueueSettings

__all__ = ["MemoryBackend"]


class MemoryBackend(Lifespan):
    """Keeps state, messages, events and signals in this process's memory, for all its threads and loops.

    Keeps what it holds while the object lives; nothing survives the process. Nothing has to be
    opened or closed, so that entering it is allowed and changes nothing.
    """

    def __init__(self, *, clock: Clock = SYSTEM) -> None:
        self.signals = MemorySignals()
        self.states = MemoryStates(clock=clock, signals=self.signals)
        self._clock = clock
        self._lock = new_lock()
        self._queues: dict[str, MemoryQueue] = {}
        self._logs: dict[str, MemoryLog] = {}

    def queue(self, name: str, /, settings: QueueSettings | None = None) -> MemoryQueue:
        """The queue of that name; the settings are those of the first caller."""
        check_name("a queue", name)
        with self._lock:
            found = self._queues.get(name)
            if found is None:
                settings = QueueSettings() if settings is None else settings
                found = self._queues[name] = MemoryQueue(name, settings, clock=self._clock, ring=self.signals.wake)
            return found

    def log(self, name: str, /, settings: LogSettings | None = None) -> MemoryLog:
        """The log of that name; the settings are those of the first caller."""
        check_name("a log", name)
        with self._lock:
            found = self._logs.get(name)
            if found is None:
                settings = LogSettings() if settings is None else settings
                found = self._logs[name] = MemoryLog(name, settings, clock=self._clock, signals=self.signals)
            return found

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
