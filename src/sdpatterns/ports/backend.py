"""A Protocol for each port that a backend may have, so that a pattern asks for no more than it uses."""

from __future__ import annotations

from typing import Protocol

from sdpatterns.ports.log import EventLog, LogSettings
from sdpatterns.ports.queue import MessageQueue, QueueSettings
from sdpatterns.ports.signals import SignalBus
from sdpatterns.ports.states import StateStore

__all__ = ["Backend", "HasLogs", "HasQueues", "HasSignals", "HasStates"]


class HasStates(Protocol):
    """Stores cells."""

    @property
    def states(self) -> StateStore:
        """Its cells."""
        ...


class HasSignals(Protocol):
    """Wakes those that wait."""

    @property
    def signals(self) -> SignalBus:
        """Its signals."""
        ...


class HasQueues(Protocol):
    """Keeps messages in named queues."""

    def queue(self, name: str, /, settings: QueueSettings = ...) -> MessageQueue:
        """The queue of that name. Opens nothing; the same name is the same queue."""
        ...


class HasLogs(Protocol):
    """Keeps events in named logs."""

    def log(self, name: str, /, settings: LogSettings = ...) -> EventLog:
        """The log of that name. Opens nothing; the same name is the same log."""
        ...


class Backend(HasStates, HasSignals, Protocol):
    """Gives patterns a store and signals in one place. Building it opens nothing; `async with` or `with` closes it."""

    async def create(self) -> None:
        """Make what it needs on the server, and check that the server is there and fit."""
        ...
