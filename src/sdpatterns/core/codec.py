"""Typed, versioned state as bytes. No pickle, here or anywhere.

Stored bytes begin with the version of the state they hold, in decimal, and a colon. During a deploy
two releases share one store: a codec reads every version it knows and refuses a newer one with
`UnknownVersion`, leaving it untouched.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from sdpatterns.errors import CodecError, UnknownVersion

__all__ = ["Codec", "IntegersCodec", "JsonCodec"]

T = TypeVar("T")


class Codec(Protocol[T]):
    """Turns a state into bytes and back; `decode(encode(x)) == x`."""

    def encode(self, value: T, /) -> bytes:
        """The bytes to store."""
        ...

    def decode(self, data: bytes, /) -> T:
        """The value in `data`. Raises `CodecError`, or `UnknownVersion` for a newer one."""
        ...


def split_version(data: bytes) -> tuple[int, bytes]:
    """The version and the body of stored bytes. Raises `CodecError` when there is none."""
    head, colon, body = data.partition(b":")
    if not colon or not head.isdigit():
        raise CodecError(f"stored state has no version: {data[:40]!r}")
    return int(head), body


class IntegersCodec:
    """A tuple of whole numbers as decimal text, which a Lua script can read and write exactly."""

    __slots__ = ("_head", "version")

    def __init__(self, version: int = 1) -> None:
        self.version = version
        self._head = b"%d:" % version

    def encode(self, value: tuple[int, ...], /) -> bytes:
        """`(5, 7)` becomes `1:5 7`."""
        return self._head + " ".join(map(str, value)).encode()

    def decode(self, data: bytes, /) -> tuple[int, ...]:
        """`1:5 7` becomes `(5, 7)`."""
        version, body = split_version(data)
        if version > self.version:
            raise UnknownVersion(f"state version {version}; this release knows {self.version}")
        try:
            return tuple(map(int, body.split()))
        except ValueError as cause:
            raise CodecError(f"not whole numbers: {body[:40]!r}") from cause


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    raise TypeError(f"{type(value).__name__} cannot be stored; use plain JSON types or bytes")


def json_writer(default: Callable[[Any], Any] | None = None) -> Callable[[object], str]:
    """Compact `json.dumps`, by the shortest way: what `json` does around the encoder costs as much as a short state."""
    encoder = json.JSONEncoder(default=default, separators=(",", ":"))
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # an interpreter other than CPython
        return encoder.encode
    # As `JSONEncoder.iterencode` does. The first argument is for values that hold themselves, so each call has its own.
    rest = (encoder.default, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, True)
    return lambda value: "".join(make({}, *rest)(value, 0))


compact_json = json_writer()
"""For values of JSON's own types."""
_WRITTEN = json_writer(_plain)


def _bytes_back(pairs: dict[str, Any]) -> Any:
    if len(pairs) != 1:
        return pairs
    [(key, value)] = pairs.items()
    if key == "$bytes":
        return base64.b64decode(value)
    return {key[1:]: value} if _looks_like_bytes(key) else pairs


def _looks_like_bytes(key: object) -> bool:
    return isinstance(key, str) and key.startswith("$") and key.lstrip("$") == "bytes"


def _needs_escape(value: object) -> bool:
    """Whether there is a lone key that would be read as bytes: hardly ever, so nothing is copied to find out."""
    if isinstance(value, dict):
        return any((len(value) == 1 and _looks_like_bytes(key)) or _needs_escape(it) for key, it in value.items())
    if isinstance(value, list | tuple):
        for item in value:
            if type(item) is not str and _needs_escape(item):
                return True
    return False


def _escaped(value: object) -> object:
    """The same with one more `$` before each lone key that would be read as bytes."""
    if isinstance(value, dict):
        alone = len(value) == 1
        return {f"${key}" if alone and _looks_like_bytes(key) else key: _escaped(it) for key, it in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, (list, tuple)) else value


def json_reader(hook: Callable[[dict[str, Any]], Any]) -> Callable[[str], Any]:
    """`json.loads` with a hook, made once: else each call makes a decoder, which costs as much as a short state."""
    decoder = json.JSONDecoder(object_hook=hook)

    def read(text: str) -> Any:
        """The value. Raises ValueError for what is no JSON."""
        # `decode` also looks for spaces around the value, which costs half as much as reading a short state.
        if text[:1] in "[{":
            value, end = decoder.raw_decode(text)
            if end == len(text):
                return value
        return decoder.decode(text)

    return read


_READ = json_reader(_bytes_back)


def _text(plain: object) -> bytes:
    text = _WRITTEN(plain)
    return (_WRITTEN(_escaped(plain)) if '$bytes":' in text and _needs_escape(plain) else text).encode()


class JsonCodec(Generic[T]):
    """JSON (with bytes) for a state that `dump` turns into plain values and `load` builds from them.

    `older` maps the number of an earlier version to the function that turns its plain form into
    today's.
    """

    __slots__ = ("_dump", "_head", "_load", "_older", "version")

    def __init__(
        self,
        dump: Callable[[T], Any],
        load: Callable[[Any], T],
        *,
        version: int = 1,
        older: Mapping[int, Callable[[Any], Any]] | None = None,
    ) -> None:
        self.version = version
        self._head = b"%d:" % version
        self._dump = dump
        self._load = load
        self._older = dict(older or {})

    def encode(self, value: T, /) -> bytes:
        """The value's plain form as compact JSON after its version."""
        plain = self._dump(value)
        if type(plain) is list and len(plain) > 1 and type(plain[-1]) is bytes:
            # Such as a stored HTTP answer, its body last. Base64 holds nothing that JSON escapes; to look for
            # that in a body costs more than all else.
            return b'%b%b,{"$bytes":"%b"}]' % (self._head, _text(plain[:-1])[:-1], base64.b64encode(plain[-1]))
        return self._head + _text(plain)

    def decode(self, data: bytes, /) -> T:
        """The value; one that an earlier release wrote is converted."""
        version, body = (self.version, data[len(self._head) :]) if data.startswith(self._head) else split_version(data)
        if version != self.version and version not in self._older:
            raise UnknownVersion(f"state version {version}; this release knows {self.version}")
        try:
            plain = _READ(body.decode("utf-8", "surrogatepass"))
        except ValueError as cause:
            raise CodecError(f"not JSON: {body[:40]!r}") from cause
        if version != self.version:
            plain = self._older[version](plain)
        return self._load(plain)
