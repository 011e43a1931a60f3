"""The ports on a transaction of the caller's: its steps are durable with the caller's own rows, or not at all."""

from __future__ import annotations

from typing import Protocol

from sdpatterns.ports.backend import HasStates

__all__ = ["View"]


class View(HasStates, Protocol):
    """What `backend.within(session)` gives. It has one port for each that the database offers."""
