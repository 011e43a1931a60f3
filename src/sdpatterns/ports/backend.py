"""Backend: the ports of one place, as one object."""

from __future__ import annotations

from typing import Protocol

from sdpatterns.ports.signals import SignalBus
from sdpatterns.ports.states import StateStore

__all__ = ["Backend"]


class Backend(Protocol):
    """Gives patterns a store and signals in one place. Building it opens nothing; `async with` or `with` closes it."""

    @property
    def states(self) -> StateStore:
        """Its cells."""
        ...

    @property
    def signals(self) -> SignalBus:
        """Its signals."""
        ...

    async def create(self) -> None:
        """Make what it needs on the server, and check that the server is there and fit."""
        ...
