"""A store that is away, and the one warning about it while guards go on without it."""

from __future__ import annotations

import logging

__all__ = ["Outage"]

_log = logging.getLogger("sdpatterns")


class Outage:
    """Whether a guard's store is away. The first call that goes on without it is logged, the others are not.

    `is_on` is for the guard to take back as soon as the store has answered again.
    """

    __slots__ = ("_on_outage", "_whose", "is_on")

    def __init__(self, whose: str, on_outage: str) -> None:
        self._whose = whose
        self._on_outage = on_outage
        self.is_on = False

    def met(self, error: Exception) -> None:
        """A call goes on, or is refused, without the store."""
        if not self.is_on:
            self.is_on = True
            _log.warning("%s: its store is away, on_outage=%r: %s", self._whose, self._on_outage, error)
