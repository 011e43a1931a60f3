"""Values of Python's own types as bytes, and back: what a function returned, or what it is to be called with."""

from __future__ import annotations

from typing import Any

from sdpatterns.core.codec import JsonCodec, compact_json, json_reader
from sdpatterns.core.values import is_plain, plain_of, value_of
from sdpatterns.errors import CodecError

__all__ = ["ValueCodec"]


def _as_it_is(value: Any) -> Any:
    return value


_TYPED = b"2:"
_READ = json_reader(value_of)


class ValueCodec:
    """Values that come back as they went, with the same types: see `sdpatterns.core.values`.

    Raises TypeError for any other value, such as an object of a class of yours: give the pattern a `codec`.
    Values of JSON's types and bytes are written as earlier releases write and read them.
    """

    __slots__ = ("_plain",)

    def __init__(self) -> None:
        self._plain: JsonCodec[Any] = JsonCodec(_as_it_is, _as_it_is)

    def encode(self, value: Any, /) -> bytes:
        """The value as JSON after its version."""
        # Plain values keep version 1, because a process of the release before may read them during a deploy.
        if is_plain(value):
            return self._plain.encode(value)
        return _TYPED + compact_json(plain_of(value)).encode()

    def decode(self, data: bytes, /) -> Any:
        if not data.startswith(_TYPED):
            return self._plain.decode(data)
        body = data[len(_TYPED) :]
        try:
            return _READ(body.decode("utf-8", "surrogatepass"))
        except ValueError as cause:
            raise CodecError(f"not JSON: {body[:40]!r}") from cause
