"""A call of a job as bytes: which job, in which version, with which arguments.

Arguments travel by name, so that a parameter may be moved, and one with a default added, while jobs wait.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sdpatterns.core.value_codec import ValueCodec
from sdpatterns.errors import CodecError

__all__ = ["CODEC", "JobCall", "decoded", "encoded"]

CODEC = ValueCodec()
"""For arguments and results."""


_TYPES = [str, int, dict]


class JobCall(NamedTuple):
    """What a worker is to run."""

    job: str
    version: int
    arguments: dict[str, Any]


def encoded(job: str, version: int, arguments: dict[str, Any]) -> bytes:
    """A call as bytes. Raises TypeError for an argument that would not come back as it is."""
    return CODEC.encode([job, version, arguments])


def decoded(data: bytes) -> JobCall:
    """The call in `data`. Raises `CodecError`."""
    found = CODEC.decode(data)
    # A `match` would cost as much as the decoding.
    if type(found) is list and [type(each) for each in found] == _TYPES:
        return JobCall(*found)
    raise CodecError(f"not the call of a job: {data[:40]!r}")
