"""Which exceptions a policy is about: types, or a function that says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, cast

from sdpatterns.core.judging import about_failures
from sdpatterns.core.runtime import meant

__all__ = ["Errors", "catches", "matcher"]

Errors: TypeAlias = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool]
"""One exception type, several, or a predicate. Cancellation and other BaseExceptions are no
errors: nothing can be said about them, and a predicate never sees one."""


def _types(given: object) -> tuple[type[BaseException], ...] | None:
    kinds: tuple[Any, ...] = given if isinstance(given, tuple) else (given,)
    return kinds if all(isinstance(kind, type) for kind in kinds) else None


def matcher(field: str, given: Errors, *, otherwise: bool) -> Callable[[Exception], bool]:
    """A function that says whether an exception is meant; `otherwise` if a predicate raises.

    Raises `ValueError` for a type that is no Exception (such as a cancellation), TypeError for a predicate
    that is async.
    """
    kinds = _types(given)
    if kinds is None:
        if not callable(given):
            raise ValueError(f"{field} must be exception types or a predicate, got {given!r}")
        return about_failures(field, cast("Callable[[Exception], bool]", given), otherwise=otherwise)
    for kind in kinds:
        if not issubclass(kind, Exception):
            raise ValueError(f"{field} must name subclasses of Exception, got {kind.__name__}")  # noqa: TRY004 - a setting
    return lambda error: isinstance(meant(error), kinds)


def catches(given: Errors, kind: type[Exception]) -> bool:
    """Whether `given` is known to cover `kind`; True where a predicate leaves it open."""
    kinds = _types(given)
    return kinds is None or issubclass(kind, kinds)
