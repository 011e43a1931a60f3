"""Dataclasses as dicts of values that the codec can write, and back, by the hints of their fields."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime as dt
import decimal
import enum
import types
import typing
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from sdpatterns.errors import CodecError

__all__ = ["RecordForm"]

_AS_THEY_ARE = frozenset({type(None), bool, int, float, str, bytes, decimal.Decimal, dt.datetime, uuid.UUID})


class Shape(NamedTuple):
    """What a hint says: how a stored value is read (None where it is read as it is), its JSON schema, a sample."""

    load: Callable[[Any], Any] | None
    schema: dict[str, Any]
    sample: Any


_SCALARS: dict[Any, Shape] = {
    type(None): Shape(None, {"type": "null"}, None),
    bool: Shape(None, {"type": "boolean"}, True),  # noqa: FBT003 - a sample
    int: Shape(None, {"type": "integer"}, 1),
    float: Shape(None, {"type": "number"}, 1.5),
    str: Shape(None, {"type": "string"}, "text"),
    Any: Shape(None, {}, None),
    object: Shape(None, {}, None),
} | {
    type(sample): Shape(None, {"type": "string", "format": type(sample).__name__.lower()}, sample)
    for sample in (
        b"bytes", bytearray(b"bytes"), 1j, decimal.Decimal("1.50"), uuid.UUID(int=1), dt.date(2026, 1, 2),
        dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), dt.time(3, 4, 5), dt.timedelta(hours=1), range(2),
    )
}  # fmt: skip
_LISTS = {list: list, collections.abc.Sequence: list, collections.abc.Iterable: list, set: set, frozenset: frozenset}
_LISTS |= {collections.abc.Set: frozenset, collections.abc.Collection: list}
_DICTS = frozenset({dict, collections.abc.Mapping, collections.abc.MutableMapping})


class RecordForm:
    """Writes and reads one dataclass."""

    __slots__ = ("_kind", "_loads", "_names", "_shapes")

    def __init__(self, kind: type[Any], inside: tuple[type[Any], ...] = ()) -> None:
        if kind in inside:
            raise TypeError(f"{kind.__qualname__} holds itself: an event cannot hold records of any depth")
        self._kind = kind
        # In the order of the class, so that an event is the same bytes in each process.
        self._names = tuple(field.name for field in dataclasses.fields(kind) if field.init)
        try:
            hints = typing.get_type_hints(kind)
        except NameError as cause:
            raise TypeError(f"the hints of {kind.__qualname__} cannot be read: {cause}") from cause
        self._shapes = {
            name: _shape(hints[name], f"{kind.__qualname__}.{name}", (*inside, kind)) for name in sorted(self._names)
        }
        self._loads = {name: shape.load for name, shape in self._shapes.items() if shape.load is not None}

    def dump(self, event: Any) -> dict[str, Any]:
        """The fields by their names."""
        return {name: _dumped(getattr(event, name)) for name in self._names}

    def load(self, data: dict[str, Any]) -> Any:
        """The record; fields that it does not have are left out."""
        if not isinstance(data, dict):
            raise CodecError(f"not the fields of {self._kind.__qualname__}: {data!r:.40}")
        is_known = data.keys() <= self._shapes.keys()
        found = data if is_known else {name: data[name] for name in self._names if name in data}
        if self._loads:
            found = {name: self._loads[name](it) if name in self._loads else it for name, it in found.items()}
        return self._kind(**found)

    def schema(self) -> dict[str, Any]:
        """Its JSON schema."""
        required = [
            field.name
            for field in dataclasses.fields(self._kind)
            if field.init and field.default is field.default_factory is dataclasses.MISSING
        ]
        properties = {name: shape.schema for name, shape in self._shapes.items()}
        return {"type": "object", "properties": properties, "required": sorted(required)}

    def sample(self) -> dict[str, Any]:
        """Data that can be loaded, made up."""
        return {name: shape.sample for name, shape in self._shapes.items()}


def _dumped(value: Any) -> Any:
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind in {list, tuple, set, frozenset}:
        return kind(map(_dumped, value))
    if kind is dict:
        return {_dumped(key): _dumped(item) for key, item in value.items()}
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        return {field.name: _dumped(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
    return value


def _shape(hint: Any, where: str, inside: tuple[type[Any], ...]) -> Shape:
    if isinstance(hint, typing.NewType):
        return _shape(hint.__supertype__, where, inside)
    if hint in _SCALARS:
        return _SCALARS[hint]
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        return _union([_shape(argument, where, inside) for argument in arguments], where)
    collection = _collection(origin, arguments, where, inside)
    return collection or _one(origin, arguments, where, inside)


def _collection(origin: Any, arguments: tuple[Any, ...], where: str, inside: tuple[type[Any], ...]) -> Shape | None:
    if origin is tuple:
        return _tuple(arguments, where, inside)
    if origin in _LISTS:
        return _several(_LISTS[origin], _shape(arguments[0] if arguments else Any, where, inside))
    return _mapping(arguments or (Any, Any), where, inside) if origin in _DICTS else None


def _one(origin: Any, arguments: tuple[Any, ...], where: str, inside: tuple[type[Any], ...]) -> Shape:
    if origin is typing.Literal:
        return Shape(None, {"enum": list(arguments)}, arguments[0])
    if isinstance(origin, type) and issubclass(origin, enum.Enum):
        values = [member.value for member in origin]
        return Shape(origin, {"enum": values}, values[0])
    if isinstance(origin, type) and dataclasses.is_dataclass(origin):
        form = RecordForm(origin, inside)
        return Shape(form.load, form.schema(), form.sample())
    raise TypeError(f"{where}: {getattr(origin, '__qualname__', origin)} cannot be stored in an event")


def _union(members: list[Shape], where: str) -> Shape:
    """One member may be read in a way of its own: a record is told from the rest as a dict, else by not being None."""
    schema = {"anyOf": [member.schema for member in members]}
    sample = next((member.sample for member in members if member.sample is not None), None)
    loads = [member for member in members if member.load is not None]
    if not loads:
        return Shape(None, schema, sample)
    [one, *others] = loads
    load = one.load
    if others or any(member.schema != {"type": "null"} for member in members if member is not one):
        raise TypeError(f"{where}: a union of a record, a collection or an enum with others than None cannot be read")
    return Shape(lambda value: None if value is None else load(value), schema, sample)  # type: ignore[misc] # not None


def _several(kind: Callable[[Any], Any], item: Shape) -> Shape:
    load, schema = item.load, {"type": "array", "items": item.schema}
    # An unhashable sample, such as of a record, cannot stand in a set.
    sample = kind([item.sample]) if kind is list else kind([])
    if load is None:
        return Shape(None, schema, sample)
    return Shape(lambda values: type(values)(map(load, values)), schema, sample)


def _tuple(arguments: tuple[Any, ...], where: str, inside: tuple[type[Any], ...]) -> Shape:
    if not arguments or arguments[1:] == (...,):
        shape = _several(list, _shape(arguments[0] if arguments else Any, where, inside))
        return shape._replace(sample=tuple(shape.sample))
    items = [_shape(argument, where, inside) for argument in arguments]
    schema = {"type": "array", "prefixItems": [item.schema for item in items]}
    sample = tuple(item.sample for item in items)
    if all(item.load is None for item in items):
        return Shape(None, schema, sample)

    def load(values: Any) -> Any:
        pairs = zip(items, values, strict=True)
        return tuple(value if item.load is None else item.load(value) for item, value in pairs)

    return Shape(load, schema, sample)


def _mapping(arguments: tuple[Any, ...], where: str, inside: tuple[type[Any], ...]) -> Shape:
    key, value = (_shape(argument, where, inside) for argument in arguments)
    schema = {"type": "object", "additionalProperties": value.schema}
    if key.schema != {"type": "string"}:
        schema["propertyNames"] = key.schema
    sample = {key.sample: value.sample}
    read_key, read_value = key.load, value.load
    if read_key is None and read_value is None:
        return Shape(None, schema, sample)

    def load(found: dict[Any, Any]) -> Any:
        return {
            key if read_key is None else read_key(key): it if read_value is None else read_value(it)
            for key, it in found.items()
        }

    return Shape(load, schema, sample)
