"""Python's values as JSON that comes back as the same values, types included.

| value | form |
|---|---|
| None, bool, int, float, str, list, dict with strings as keys | themselves |
| bytes, bytearray, complex, Decimal, UUID, datetime, date, time, timedelta, range | `{"$": [kind, text]}` |
| tuple, set, frozenset, dict with other keys | `{"$": [kind, items]}` |

A subclass (an enum, a named tuple, an OrderedDict) is refused, because a value of its base would come back.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, NamedTuple

from sdpatterns.errors import CodecError

__all__ = ["is_plain", "plain_of", "scalar_of", "scalar_text", "value_of"]

_TAG = "$"
_DEPTH_MAX = 200
_PLAIN = frozenset({type(None), bool, int, float, str})


class _Scalar(NamedTuple):
    """How one type is written as text, and read."""

    kind: str
    write: Callable[[Any], str]
    read: Callable[[str], Any]


def _zone_text(zone: dt.tzinfo | None) -> str:
    """`UTC`, an offset in microseconds, or a slash and the name in the time zone database; empty for no zone."""
    if zone is None:
        return ""
    if type(zone) is zoneinfo.ZoneInfo and zone.key:
        return f"/{zone.key}"
    if type(zone) is dt.timezone and zone.tzname(None) == dt.timezone(zone.utcoffset(None)).tzname(None):
        return "UTC" if zone == dt.UTC else f"{zone.utcoffset(None) // dt.timedelta(microseconds=1)}"
    raise TypeError(
        f"a time zone of the type {type(zone).__qualname__} cannot be stored: use ZoneInfo or a fixed offset"
    )


def _zone(text: str) -> dt.tzinfo | None:
    if text in {"", "UTC"}:
        return dt.UTC if text else None
    if text.startswith("/"):
        return zoneinfo.ZoneInfo(text[1:])
    return dt.timezone(dt.timedelta(microseconds=int(text)))


def _moment_text(at: dt.datetime | dt.time) -> str:
    return f"{at.replace(tzinfo=None, fold=0).isoformat()} {at.fold} {_zone_text(at.tzinfo)}"


def _datetime(text: str) -> dt.datetime:
    plain, fold, zone = text.split(" ", 2)
    return dt.datetime.fromisoformat(plain).replace(fold=int(fold), tzinfo=_zone(zone))


def _time(text: str) -> dt.time:
    plain, fold, zone = text.split(" ", 2)
    return dt.time.fromisoformat(plain).replace(fold=int(fold), tzinfo=_zone(zone))


def _delta_text(length: dt.timedelta) -> str:
    return f"{length.days} {length.seconds} {length.microseconds}"


def _delta(text: str) -> dt.timedelta:
    days, seconds, microseconds = map(int, text.split())
    return dt.timedelta(days, seconds, microseconds)


def _bytes_text(data: bytes | bytearray) -> str:
    return base64.b64encode(data).decode()


_SCALARS: dict[type, _Scalar] = {
    bytes: _Scalar("bytes", _bytes_text, base64.b64decode),
    bytearray: _Scalar("bytearray", _bytes_text, lambda text: bytearray(base64.b64decode(text))),
    complex: _Scalar("complex", repr, complex),
    decimal.Decimal: _Scalar("decimal", str, decimal.Decimal),
    uuid.UUID: _Scalar("uuid", str, uuid.UUID),
    dt.datetime: _Scalar("datetime", _moment_text, _datetime),
    dt.date: _Scalar("date", str, dt.date.fromisoformat),
    dt.time: _Scalar("time", _moment_text, _time),
    dt.timedelta: _Scalar("timedelta", _delta_text, _delta),
    range: _Scalar("range", lambda it: f"{it.start} {it.stop} {it.step}", lambda text: range(*map(int, text.split()))),
}
_READS = {scalar.kind: scalar.read for scalar in _SCALARS.values()}
_GROUPS: dict[type, str] = {tuple: "tuple", set: "set", frozenset: "frozenset"}
_MAKES: dict[str, Callable[[list[Any]], Any]] = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "dict": lambda pairs: {key: value for key, value in pairs},  # noqa: C416 - each pair is a list
}


def scalar_text(value: object) -> tuple[str, str] | None:
    """The kind and the text of one value that JSON has not; None for any other. TypeError for an odd time zone."""
    scalar = _SCALARS.get(type(value))
    return None if scalar is None else (scalar.kind, scalar.write(value))


def scalar_of(kind: str, text: str) -> Any:
    """The value that `scalar_text` wrote. Raises `CodecError` for anything else."""
    try:
        return _READS[kind](text)
    except (KeyError, ValueError, TypeError, ArithmeticError) as cause:
        raise CodecError(f"not a {kind}: {text[:40]!r}") from cause


def is_plain(value: object, depth: int = 0) -> bool:
    """Whether JSON with bytes gives the very same value back."""
    kind = type(value)
    if kind in _PLAIN or kind is bytes:
        return True
    if depth > _DEPTH_MAX:
        raise TypeError(f"a value nested deeper than {_DEPTH_MAX} cannot be stored")
    if kind is list:
        for item in value:  # type: ignore[attr-defined] # noqa: SIM110 - a list; a generator costs twice the loop
            # Text and numbers without a call: most lists hold little else.
            if type(item) not in _PLAIN and not is_plain(item, depth + 1):
                return False
        return True
    if kind is not dict:
        return False
    for key, item in value.items():  # type: ignore[attr-defined]
        if type(key) is not str or (type(item) not in _PLAIN and not is_plain(item, depth + 1)):
            return False
    return True


def plain_of(value: object, depth: int = 0) -> Any:
    """The value as JSON's types. Raises TypeError for one that would not come back as it is."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if depth > _DEPTH_MAX:
        raise TypeError(f"a value nested deeper than {_DEPTH_MAX} cannot be stored")
    if kind is list:
        return [plain_of(item, depth + 1) for item in value]  # type: ignore[attr-defined] # a list
    if kind is dict:
        return _dict(value, depth)  # type: ignore[arg-type] # a dict
    if kind in _GROUPS:
        items = [plain_of(item, depth + 1) for item in value]  # type: ignore[attr-defined] # a group
        if kind is not tuple:
            items.sort(key=repr)  # a set has another order in each process, and is to be the same bytes
        return {_TAG: [_GROUPS[kind], items]}
    tagged = scalar_text(value)
    if tagged is None:
        raise TypeError(f"{kind.__qualname__} cannot be stored: a codec has to say how it comes back")
    return {_TAG: list(tagged)}


def _dict(value: dict[Any, Any], depth: int) -> Any:
    if all(type(key) is str for key in value) and set(value) != {_TAG}:
        return {key: plain_of(item, depth + 1) for key, item in value.items()}
    pairs = [[plain_of(key, depth + 1), plain_of(item, depth + 1)] for key, item in value.items()]
    return {_TAG: ["dict", pairs]}


def value_of(found: dict[str, Any]) -> Any:
    """For `json.loads(object_hook=...)`: the value that an object stands for. Raises `CodecError`."""
    if found.keys() != {_TAG}:
        return found
    kind, inside = found[_TAG]
    if isinstance(inside, list):
        if kind not in _MAKES:
            raise CodecError(f"not a kind of value: {kind!r}")
        return _MAKES[kind](inside)
    return scalar_of(kind, inside)
