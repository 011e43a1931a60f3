"""The arguments of a call that is made later, perhaps by another release: they travel by name.

So a parameter may be moved, and one with a default added, while calls wait.
"""

from __future__ import annotations

import inspect
from typing import Any

from sdpatterns.errors import CodecError

__all__ = ["arguments_of", "fitting"]


def arguments_of(signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call by the names of their parameters. Raises TypeError as the call itself would."""
    return dict(signature.bind(*args, **kwargs).arguments)


def fitting(signature: inspect.Signature, arguments: dict[str, Any]) -> inspect.BoundArguments:
    """The arguments for a call. Raises `CodecError` where the function has no such parameters, or needs more."""
    unknown = arguments.keys() - signature.parameters.keys()
    missing = [
        name
        for name, parameter in signature.parameters.items()
        if name not in arguments
        and parameter.default is parameter.empty
        and parameter.kind not in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
    ]
    if unknown or missing:
        odd = [*(f"unknown {name}" for name in sorted(unknown)), *(f"missing {name}" for name in missing)]
        raise CodecError(f"the arguments do not fit the function: {', '.join(odd)}")
    return inspect.BoundArguments(signature, arguments)
