"""Signals of the memory backend: those of this process."""

from __future__ import annotations

from sdpatterns.ports.fanout import LocalSignals

__all__ = ["MemorySignals"]


class MemorySignals(LocalSignals):
    """See `SignalBus`."""
