"""Two releases share a log or not: judged by hand, and against data that each of them writes."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdpatterns.messaging.schema.compatibility import breaks_between
from sdpatterns.messaging.schema.forms import form_of
from sdpatterns.messaging.schema.json_schema import made_up


def record(*fields: tuple[Any, ...]) -> Any:
    """A dataclass with these fields: a name, a hint, perhaps a default."""
    return dataclasses.make_dataclass(
        "It", [(*it[:2], dataclasses.field(default=it[2])) if it[2:] else it for it in fields]
    )


def told(before: Any, after: Any) -> list[tuple[str, str, str]]:
    """What keeps two classes apart, the first word of each reason."""
    found = breaks_between(form_of(before).schema(), form_of(after).schema())
    return sorted((it.direction, it.field, it.what.split(":")[0]) for it in found)


ORDER = ("order", str)
BASIC = record(ORDER)


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    order: str


class StrictMore(Strict):
    more: int = 1


class Short(pydantic.BaseModel):
    order: str = pydantic.Field(max_length=3)


class Inner(pydantic.BaseModel):
    a: int
    b: list[str] = []


class InnerLess(pydantic.BaseModel):
    b: list[int] = []


class Outer(pydantic.BaseModel):
    one: Inner
    many: dict[str, Inner]


class OuterLess(pydantic.BaseModel):
    one: InnerLess
    many: dict[str, InnerLess]


CASES: dict[str, tuple[Any, Any, list[tuple[str, str, str]]]] = {
    "the same": (BASIC, record(ORDER), []),
    "with a default": (BASIC, record(ORDER, ("more", int, 1)), []),
    "without a default": (BASIC, record(ORDER, ("more", int)), [("backward", "more", "added without a default")]),
    "lost its default": (record(("a", int, 1)), record(("a", int)), [("backward", "a", "lost its default")]),
    "gained a default": (record(("a", int)), record(("a", int, 1)), []),
    "removed": (record(ORDER, ("more", int)), BASIC, [("forward", "more", "removed")]),
    "removed with a default": (record(ORDER, ("more", int, 1)), BASIC, [("backward", "more", "removed")]),
    "renamed": (
        record(ORDER, ("more", int)),
        record(ORDER, ("less", int, 0)),
        [("forward", "more", "renamed to 'less'")],
    ),
    "retyped": (BASIC, record(("order", int)), [("both", "order", "retyped")]),
    "wider": (BASIC, record(("order", str | None)), [("forward", "order", "wider")]),
    "narrower": (record(("order", str | None)), BASIC, [("backward", "order", "narrower")]),
    "a number of a whole one": (record(("a", int)), record(("a", float)), [("forward", "a", "wider")]),
    "a whole one of a number": (record(("a", float)), record(("a", int)), [("backward", "a", "narrower")]),
    "one value more": (
        record(("a", Literal["x"])),
        record(("a", Literal["x", "y"])),
        [("forward", "a", "wider")],
    ),
    "anything": (BASIC, record(("order", Any)), [("forward", "order", "wider")]),
    "no longer anything": (record(("order", Any)), BASIC, [("backward", "order", "narrower")]),
    "a list of others": (record(("a", list[int])), record(("a", list[str])), [("both", "a.[]", "retyped")]),
    "a longer tuple": (record(("a", tuple[int, int])), record(("a", tuple[int])), [("both", "a", "retyped")]),
    "forbids others": (Strict, StrictMore, [("forward", "more", "added")]),
    "other limits": (pydantic.create_model("It", order=(str, ...)), Short, [("both", "order", "limits changed")]),
    "within": (
        Outer,
        OuterLess,
        [
            ("both", "many.*.b.[]", "retyped"),
            ("both", "one.b.[]", "retyped"),
            ("forward", "many.*.a", "removed"),
            ("forward", "one.a", "removed"),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_change_is_judged(name: str) -> None:
    before, after, expected = CASES[name]
    assert told(before, after) == expected


class Field(NamedTuple):
    """One field of a made-up class."""

    hint: Any
    has_default: bool


HINTS = st.sampled_from([int, str, float, str | None, int | str])
FIELDS = st.dictionaries(st.sampled_from("abc"), st.builds(Field, HINTS, st.booleans()), min_size=1)


def model(fields: dict[str, Field]) -> Any:
    """A model that judges its data, as a dataclass would not."""
    defaults = {int: 1, str: "x", float: 1.5}
    made: dict[str, Any] = {
        name: (it.hint, defaults.get(it.hint) if it.has_default else ...) for name, it in fields.items()
    }
    return pydantic.create_model("It", __config__=pydantic.ConfigDict(strict=True, validate_default=False), **made)


def values(hint: Any) -> list[Any]:
    """One of each kind that a field may hold."""
    return {int: [3], str: ["t"], float: [2.5, 3], str | None: ["t", None], int | str: [3, "t"]}[hint]


def can_read(reader: Any, writer: Any, fields: dict[str, Field]) -> bool:
    """Whether the reader takes all that the writer writes, one field at a time at each of its values."""
    usual = {name: values(it.hint)[0] for name, it in fields.items()}
    for name, it in fields.items():
        for value in values(it.hint):
            data = form_of(writer).dump(writer(**{**usual, name: value}))
            try:
                form_of(reader).load(data)
            except pydantic.ValidationError:
                return False
    return True


@settings(max_examples=60)
@given(FIELDS, FIELDS)
def test_what_is_called_compatible_is_read_by_the_other_release(old: dict[str, Field], new: dict[str, Field]) -> None:
    before, after = model(old), model(new)
    directions = {it.direction for it in breaks_between(form_of(before).schema(), form_of(after).schema())}
    if not directions & {"backward", "both"}:
        assert can_read(after, before, old)
    if not directions & {"forward", "both"}:
        assert can_read(before, after, new)


def test_made_up_data_follows_values_limits_and_references() -> None:
    schema = {
        "$defs": {"at": {"type": "string", "format": "date"}, "me": {"type": "object", "properties": {}}},
        "type": "object",
        "properties": {
            "at": {"$ref": "#/$defs/at"},
            "const": {"const": 7},
            "enum": {"enum": ["a"]},
            "list": {"type": "array", "items": {"type": "integer"}, "minItems": 2},
            "low": {"type": "number", "minimum": 5, "maximum": 5.5},
            "long": {"type": "string", "minLength": 6},
            "short": {"type": "string", "maxLength": 2},
            "raw": {"type": "string", "contentEncoding": "base64"},
            "maybe": {"anyOf": [{"type": "null"}, {"type": ["boolean", "null"]}]},
            "any": {},
        },
    }
    assert made_up(schema) == {
        "at": "2026-01-02", "const": 7, "enum": "a", "list": [1, 1], "low": 5.5, "long": "textxx", "short": "te",
        "raw": "Ynl0ZXM=", "maybe": True, "any": None,
    }  # fmt: skip


def test_made_up_data_of_a_schema_without_end_ends() -> None:
    schema = {"$defs": {"n": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"}
    assert str(made_up(schema)).startswith("{'n': {'n':")
