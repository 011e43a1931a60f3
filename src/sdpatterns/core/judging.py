"""Functions of the user's, and those among them that a pattern asks about a call: predicates, hints, keys.

Each is asked at once and never awaited. So one that is async is refused when the pattern is built, and one
that gives something to await is refused when it first does; its answer would be true always. One that judges
a failure and fails itself never hides that failure: it is logged, and the pattern goes on as if it had not
been asked.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

from sdpatterns.core.runtime import meant

__all__ = ["NotAwaited", "about_failures", "answering", "at_once", "callable_of", "is_async", "plain", "title_of"]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_AT_ONCE = frozenset({bool, float, int, str, type(None)})
_log = logging.getLogger("sdpatterns")


def title_of(thing: object) -> str:
    """A function, or another thing that a caller handed in, as messages name it: never by its address."""
    if isinstance(thing, functools.partial):
        return title_of(thing.func)
    found = getattr(thing, "__qualname__", None)
    return found if isinstance(found, str) else type(thing).__name__


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling `function` gives a coroutine (async def, partial, or async `__call__`)."""
    target = function
    while isinstance(target, functools.partial):
        target = target.func
    return inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(
        getattr(target, "__call__", None)  # noqa: B004 - the method itself is wanted, not callable()
    )


class NotAwaited(TypeError):
    """A function of the user's gave something to await, where its answer is needed at once."""


def callable_of(field: str, function: F) -> F:
    """`function`, which may be async. Raises `ValueError` for what is no function."""
    if not callable(function):
        raise ValueError(f"{field} must be a function, got {function!r}")  # noqa: TRY004 - a setting
    return function


def plain(field: str, function: F) -> F:
    """`function`, which is not awaited. Raises `ValueError` for what is no function, TypeError for an async one."""
    if is_async(callable_of(field, function)):
        raise TypeError(f"{field} must be a plain function, because it is not awaited: {title_of(function)} is async")
    return function


def at_once(field: str, function: Callable[..., Any], answer: T) -> T:
    """What `function` answered. Raises `NotAwaited` if that is something to await.

    Where each nanosecond counts, rule out the common answer (`is not False`) before you call it.
    """
    if type(answer) not in _AT_ONCE and inspect.isawaitable(answer):
        if inspect.iscoroutine(answer):
            answer.close()
        raise NotAwaited(f"{field} gave something to await, and is not awaited: make {title_of(function)} plain")
    return answer


def answering(field: str, function: F) -> F:
    """`function`, checked when it is given and each time it answers.

    Raises `ValueError` for what is no function, TypeError for an async one; called, `NotAwaited` where it
    gives something to await.
    """
    plain(field, function)

    def asked(about: Any, /) -> Any:
        """The answer, which is no promise of one."""
        answer = function(about)
        # The plain answers first: a call more would cost every call that is judged.
        return answer if type(answer) in _AT_ONCE else at_once(field, function, answer)

    return cast("F", asked)


def about_failures(field: str, function: Callable[[Exception], T], *, otherwise: T) -> Callable[[Exception], T]:
    """`function`, for a failure; if it raises, the answer is `otherwise`, and the log says why.

    Called, it raises nothing but `NotAwaited`, with the failure as its cause.
    """
    ask = answering(field, function)

    def judged(failure: Exception) -> T:
        try:
            return ask(meant(failure))
        except NotAwaited as mistake:
            raise mistake from failure
        except Exception:  # noqa: BLE001 - whatever it is, the failure that it judges counts
            _log.exception("%s failed on %s, and is taken as %r", field, type(failure).__name__, otherwise)
            return otherwise

    return judged
