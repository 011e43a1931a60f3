"""Functions of the user's about a request: awaited where they may be async, and never the failure of a request.

See `sdpatterns.core.judging` for those that are asked about a call.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

__all__ = ["asked", "told"]

T = TypeVar("T")

_log = logging.getLogger("sdpatterns")


async def asked(answer: T | Awaitable[T]) -> T:
    """What a function answered that may be async."""
    # Text first, as most keys are: to ask whether it can be awaited costs more than the function itself.
    if type(answer) is not str and inspect.isawaitable(answer):
        found: T = await answer
        return found
    return answer


def told(field: str, function: Callable[..., T], about: object, otherwise: T) -> T:
    """What `function` says about this, or `otherwise` if it raises: the request must not fail because of it."""
    try:
        return function(about)
    except Exception:  # noqa: BLE001 - whatever it raises, the request goes on
        _log.exception("%s raised; taken as %r", field, otherwise)
        return otherwise
