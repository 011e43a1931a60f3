"""Try a write again after it lost a race or its reply was lost: once for all that expect a version."""

from __future__ import annotations

import random as random_numbers
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sdpatterns.algorithms.backoff import BACKOFFS
from sdpatterns.core.context import deadline_left_s
from sdpatterns.core.runtime import current
from sdpatterns.errors import VersionConflict

__all__ = ["until_it_is_written"]

T = TypeVar("T")

_PAUSE_FIRST_S = 0.005
_PAUSE_MAX_S = 0.25


async def until_it_is_written(
    attempt: Callable[[], Awaitable[T]], attempts_max: int, *, on: type[Exception] = VersionConflict
) -> T:
    """What `attempt` returns, called again after each `VersionConflict`, with pauses that grow.

    Raises the conflict after `attempts_max` attempts, and when the caller's deadline leaves no time for another one.
    `on` is another error after which the attempt is safe to repeat.
    """
    for number in range(attempts_max):
        try:
            return await attempt()
        except on:
            pause_s = BACKOFFS["full_jitter"](
                number, _PAUSE_FIRST_S, _PAUSE_FIRST_S, _PAUSE_MAX_S, random_numbers.random()
            )
            left_s = deadline_left_s()
            if number + 1 == attempts_max or (left_s is not None and left_s <= pause_s):
                raise
        await current().sleep(pause_s)
    raise AssertionError("attempts_max is at least 1")
