"""A store that is away: what a guard does then, and its one warning while it goes on without the store."""

from __future__ import annotations

import logging
from typing import Literal, TypeAlias, get_args

__all__ = ["OnOutage", "Outage"]

OnOutage: TypeAlias = Literal["allow", "refuse", "raise"]
"""What a guard does while its store is away."""

_log = logging.getLogger("sdpatterns")


class Outage:
    """Whether a guard's store is away. The first call that goes on without it is logged, the others are not.

    `policy` is what to do then. `is_on` is for the guard to take back as soon as the store has answered
    again. **May fail** when it is built: `ValueError` for no such policy.
    """

    __slots__ = ("_whose", "is_on", "policy")

    def __init__(self, whose: str, on_outage: OnOutage) -> None:
        policies = get_args(OnOutage)
        if on_outage not in policies:
            raise ValueError(f"on_outage must be one of {', '.join(map(repr, policies))}, got {on_outage!r}")
        self._whose = whose
        self.policy = on_outage
        self.is_on = False

    def met(self, error: Exception) -> None:
        """A call goes on, or is refused, without the store."""
        if not self.is_on:
            self.is_on = True
            _log.warning("%s: its store is away, on_outage=%r: %s", self._whose, self.policy, error)
