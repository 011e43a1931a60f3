"""The arguments of a call that is made later, perhaps by another release: they travel by name.

So a parameter may be moved, and one with a default added, while calls wait.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from sdpatterns.errors import CodecError

__all__ = ["Parameters"]

_BY_NAME = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
_OF_MANY = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}


class Parameters:
    """What a function takes."""

    __slots__ = ("_are_by_name", "_names", "_needed", "_signature")

    def __init__(self, signature: inspect.Signature) -> None:
        found = signature.parameters
        self._signature = signature
        self._names = frozenset(found)
        self._needed = frozenset(
            name for name, each in found.items() if each.default is each.empty and each.kind not in _OF_MANY
        )
        self._are_by_name = all(each.kind in _BY_NAME for each in found.values())

    def named(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by the names of their parameters. Raises TypeError as the call itself would."""
        if self._are_by_name and not args and self._needed <= kwargs.keys() <= self._names:
            return dict(kwargs)  # a tenth of the cost of `bind`
        return dict(self._signature.bind(*args, **kwargs).arguments)

    def fitting(self, arguments: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What to call the function with. Raises `CodecError` where it has no such parameters, or needs more."""
        if not self._needed <= arguments.keys() <= self._names:
            odd = [f"unknown {name}" for name in sorted(arguments.keys() - self._names)]
            odd += [f"missing {name}" for name in self._signature.parameters if name in self._needed - arguments.keys()]
            raise CodecError(f"the arguments do not fit the function: {', '.join(odd)}")
        if self._are_by_name:
            return (), arguments
        bound = inspect.BoundArguments(self._signature, arguments)
        return bound.args, bound.kwargs
