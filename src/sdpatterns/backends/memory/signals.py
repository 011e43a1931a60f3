"""Signals of the memory backend: those of this process."""

from __future__ import annotations

from sdpatterns.ports.fanout import LocalSignals

__all__ = ["MemorySignals"]


class MemorySignals(LocalSignals):
    """Sends signals between the tasks and threads of this process: see `SignalBus`."""
