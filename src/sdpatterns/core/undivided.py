"""Objects that are never copied: `copy` gives the object itself, and pickle raises an error that says what to do.

Libraries that send work to other processes (cloudpickle under Ray, Dask or joblib) meet it too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NoReturn, Self, TypeVar

__all__ = ["Undivided", "bound_to_here"]

F = TypeVar("F", bound=Callable[..., Any])


class Undivided:
    """An object whose state lives in this process or behind its store: a second one would count apart.

    `copy` and `deepcopy` therefore give the object itself. Pickle raises TypeError: another process builds one of
    its own.
    """

    __slots__ = ()

    _elsewhere: ClassVar[str] = "build it there, at import time"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        name = getattr(self, "name", None)
        title = type(self).__name__ if name is None else f"{type(self).__name__} {name!r}"
        raise TypeError(f"{title} cannot be sent to another process: {self._elsewhere}")


class _BoundToHere:
    """Stands among the attributes of a protected function, which pickle goes through first."""

    __slots__ = ("_said",)

    def __init__(self, said: str) -> None:
        self._said = said

    def __reduce__(self) -> NoReturn:
        raise TypeError(self._said)


def bound_to_here(protected: F, part: object) -> F:
    """A protected function, which is sent to another process by its name alone, as pickle does.

    By value, as cloudpickle sends what a notebook or another function defines, it would arrive with copies of
    what it shares with this process.
    """
    title = getattr(protected, "__qualname__", type(protected).__name__)
    kind = type(getattr(part, "part", part)).__name__  # of a part with its key, the part
    said = (
        f"{title} is protected by {kind} and cannot be sent to another process by value: define it in"
        " a module that the other process imports, or protect it there"
    )
    protected.__sdpatterns__ = _BoundToHere(said)  # type: ignore[attr-defined]
    return protected
