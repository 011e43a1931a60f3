"""A store that is away: what a guard does then, and its one warning while it goes on without the store."""

from __future__ import annotations

import contextlib
import logging
import warnings
import weakref
from typing import Literal, TypeAlias, get_args

from sdpatterns.core.ranges import one_of

__all__ = ["OnOutage", "Outage"]

OnOutage: TypeAlias = Literal["allow", "refuse", "raise"]
"""What a guard does while its store is away."""

_WARNED: weakref.WeakSet[object] = weakref.WeakSet()
"""The stores whose first outage in this process `warnings.warn` has reported."""

_log = logging.getLogger("sdpatterns")


class Outage:
    """Whether a guard's store is away. The first call that goes on without it is logged, the others are not.

    The first outage of each store in a process is also a `RuntimeWarning`, because Python shows one
    where no logging is set up, and a mistyped URL would otherwise switch the limit off without a message.
    `policy` is what to do then. `is_on` is for the guard to take back as soon as the store has answered
    again. **May fail** when it is built: `ValueError` for no such policy.
    """

    __slots__ = ("_store", "_whose", "is_on", "policy")

    def __init__(self, whose: str, on_outage: OnOutage, store: object = None) -> None:
        one_of("on_outage", on_outage, get_args(OnOutage))
        self._whose = whose
        self._store = store
        self.policy = on_outage
        self.is_on = False

    def met(self, error: Exception) -> None:
        """A call goes on, or is refused, without the store."""
        if self.is_on:
            return
        self.is_on = True
        told = f"{self._whose} goes on without its store, on_outage={self.policy!r}: {error}"
        _log.warning("%s", told)
        if self._store is not None and _is_first(self._store):
            # Where warnings are errors it must not take the place of the call that goes on.
            with contextlib.suppress(RuntimeWarning):
                warnings.warn(told, RuntimeWarning, stacklevel=2)


def _is_first(store: object) -> bool:
    try:
        seen = store in _WARNED
        _WARNED.add(store)
    except TypeError:  # a store that can be neither compared nor held weakly: Python shows each text once
        return True
    return not seen
