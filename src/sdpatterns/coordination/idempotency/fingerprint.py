"""A digest of what makes a request, so that one key with two different requests is noticed.

Each value is written with its type and its length before it is digested: `1`, `"1"`, `True` and
`[1]` differ, the order of a mapping's keys does not count, and no two requests share a form.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import hashlib
import inspect
import math
import uuid
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["fingerprint", "of_call"]

_DIGEST_BYTES = 20
_DEPTH_MAX = 50


def fingerprint(request: object) -> str:
    """The digest of `request`: plain values, and lists, mappings and dataclasses of them.

    Raises `TypeError` for a value with no canonical form (an open session, a lambda): leave it out
    or say with `fingerprint=` what makes the request.
    """
    pieces: list[bytes] = []
    _write(request, pieces, 0)
    return hashlib.blake2b(b"".join(pieces), digest_size=_DIGEST_BYTES).hexdigest()


def of_call(function: Callable[..., Any]) -> Callable[..., str]:
    """A function that digests a call of `function`: its qualified name and its arguments.

    Positional, keyword and default arguments count by their names. The object that a method is
    called on does not count.
    """
    if isinstance(function, functools.partial):
        inner = of_call(function.func)
        return lambda *args, **kwargs: inner(*function.args, *args, **{**function.keywords, **kwargs})
    signature = inspect.signature(function)
    named = function if hasattr(function, "__qualname__") else type(function)
    name = f"{named.__module__}.{named.__qualname__}"
    bound_to = _bound_to(function, signature)

    def of_this_call(*args: Any, **kwargs: Any) -> str:
        bound = signature.bind(*args, **kwargs)
        # A call that leaves out an argument equals one that passes the default.
        bound.apply_defaults()
        arguments = {name: value for name, value in bound.arguments.items() if name != bound_to}
        return fingerprint([name, arguments])

    return of_this_call


def _bound_to(function: Callable[..., Any], signature: inspect.Signature) -> str | None:
    first = next(iter(signature.parameters), None)
    in_a_class = "." in getattr(function, "__qualname__", "").rpartition("<locals>.")[2]
    return first if in_a_class and first in {"self", "cls"} else None


def _write(value: Any, pieces: list[bytes], depth: int) -> None:
    if depth > _DEPTH_MAX:
        raise TypeError(f"a request nested deeper than {_DEPTH_MAX} has no fingerprint")
    kind = type(value)
    # Text, bytes and lists first, which most requests are made of, ahead of the questions about rarer types.
    if kind is str:
        pieces.append(_text(value))
    elif kind is bytes:
        pieces.append(b"y%d:%b" % (len(value), value))
    elif kind is not list and isinstance(value, Mapping):
        _write_mapping(value, pieces, depth)
    elif kind is list or isinstance(value, list | tuple):
        pieces.append(b"l%d:" % len(value))
        for item in value:
            # Without a call, because most lists hold little else.
            if type(item) is bytes:
                pieces.append(b"y%d:%b" % (len(item), item))
            else:
                _write(item, pieces, depth + 1)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        pieces.append(_framed(b"c", type(value).__qualname__.encode()))
        _write_mapping(fields, pieces, depth)
    elif isinstance(value, enum.Enum):
        # Before the plain values: a member of an IntEnum is an int as well.
        pieces.append(_framed(b"e", f"{type(value).__qualname__}.{value.name}".encode()))
    else:
        pieces.append(_plain(value))


def _write_mapping(value: Mapping[Any, object], pieces: list[bytes], depth: int) -> None:
    pieces.append(b"m%d:" % len(value))
    for key in value:
        if not isinstance(key, str):
            raise TypeError(f"a mapping's keys are strings in a fingerprint, got {key!r}")
    for key in sorted(value):
        pieces.append(_text(key))
        _write(value[key], pieces, depth + 1)


def _text(value: str) -> bytes:
    raw = value.encode() if value.isascii() else value.encode("utf-8", "surrogatepass")
    return b"s%d:%b" % (len(raw), raw)


def _framed(kind: bytes, body: bytes) -> bytes:
    return b"%b%d:%b" % (kind, len(body), body)


@functools.singledispatch
def _plain(value: object) -> bytes:
    raise TypeError(
        f"{type(value).__qualname__} has no canonical form: leave it out of the request,"
        " or say with fingerprint= what makes it"
    )


@_plain.register
def _(value: None) -> bytes:
    return b"n0:"


@_plain.register
def _(value: bool) -> bytes:  # noqa: FBT001 - the value is what is dispatched on
    return b"b1:1" if value else b"b1:0"


@_plain.register
def _(value: int) -> bytes:
    return _framed(b"i", b"%d" % value)


@_plain.register
def _(value: float) -> bytes:
    if not math.isfinite(value):
        raise TypeError(f"{value!r} has no canonical form")
    # `+ 0.0` makes 0.0 of -0.0, because the two are equal.
    return _framed(b"f", repr(value + 0.0).encode())


@_plain.register
def _(value: str) -> bytes:
    return _text(value)


@_plain.register(bytes)
@_plain.register(bytearray)
@_plain.register(memoryview)
def _(value: bytes | bytearray | memoryview) -> bytes:
    return _framed(b"y", bytes(value))


@_plain.register(decimal.Decimal)
@_plain.register(uuid.UUID)
@_plain.register(dt.datetime)
@_plain.register(dt.date)
@_plain.register(dt.time)
def _(value: object) -> bytes:
    return _framed(b"t", f"{type(value).__qualname__} {value}".encode())
