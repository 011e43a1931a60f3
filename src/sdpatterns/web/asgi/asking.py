"""What the middlewares ask functions of the user's: checked when built, awaited where that is allowed."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from sdpatterns.core.policy import is_async, title_of

__all__ = ["asked", "plain", "told"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_log = logging.getLogger("sdpatterns")


def plain(field: str, function: F) -> F:
    """`function`, if it is a plain one. Raises TypeError where it is async: its answer would always be true."""
    if not callable(function):
        raise TypeError(f"{field} must be a function, got {function!r}")
    if is_async(function):
        raise TypeError(f"{field} must be a plain function, because it is not awaited: {title_of(function)} is async")
    return function


async def asked(answer: T | Awaitable[T]) -> T:
    """What a function answered that may be async."""
    if inspect.isawaitable(answer):
        found: T = await answer
        return found
    return answer


def told(field: str, function: Callable[..., T], about: object, otherwise: T) -> T:
    """What `function` says `about` a request, or `otherwise` where it raises: the request is not to fail by it."""
    try:
        answer = function(about)
    except Exception:  # noqa: BLE001 - whatever it raises, the request goes on
        _log.exception("%s raised; taken as %r", field, otherwise)
        return otherwise
    if inspect.iscoroutine(answer):
        answer.close()
        _log.error("%s gave a coroutine, which is not awaited; taken as %r", field, otherwise)
        return otherwise
    return answer
