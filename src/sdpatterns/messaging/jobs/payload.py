"""A call of a job as bytes: which job, in which version, with which arguments.

Arguments travel by name, so that a parameter may be moved, and one with a default added, while jobs wait.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

from sdpatterns.core.value_codec import ValueCodec
from sdpatterns.errors import CodecError

__all__ = ["CODEC", "JobCall", "arguments_of", "decoded", "encoded", "fitting"]

CODEC = ValueCodec()
"""For arguments and results."""


class JobCall(NamedTuple):
    """What a worker is to run."""

    job: str
    version: int
    arguments: dict[str, Any]


def encoded(call: JobCall) -> bytes:
    """The call as bytes. Raises TypeError for an argument that would not come back as it is."""
    return CODEC.encode([call.job, call.version, call.arguments])


def decoded(data: bytes) -> JobCall:
    """The call in `data`. Raises `CodecError`."""
    found = CODEC.decode(data)
    match found:
        case [str(job), int(version), dict(arguments)]:
            return JobCall(job, version, arguments)
    raise CodecError(f"not the call of a job: {data[:40]!r}")


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
