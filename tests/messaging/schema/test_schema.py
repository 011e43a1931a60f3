"""Events come back as they went, in the newest version, whatever their class is and when they were stored."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NewType

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdpatterns.errors import CodecError, UnknownVersion
from sdpatterns.messaging.schema import EventPart, EventSchema, EventType
from sdpatterns.messaging.schema.forms import form_of
from sdpatterns.messaging.schema.schema import DATA

Sku = NewType("Sku", str)


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


@dataclasses.dataclass(frozen=True)
class Address:
    street: str
    lines: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Everything:
    """A field of each kind that a dataclass may have."""

    sku: Sku
    amount: decimal.Decimal
    at: dt.datetime
    of: uuid.UUID
    raw: bytes
    size: Size
    to: Address
    perhaps: Address | None
    stops: list[Address]
    pair: tuple[int, Size]
    by_size: Mapping[Size, Address]
    sizes: frozenset[Size]
    way: Literal["up", "down"]
    counts: dict[str, int]
    anything: Any
    either: int | str | None = None
    tags: Sequence[str] = ("new",)


@dataclasses.dataclass(frozen=True)
class Tags:
    """Fields and members enough that the order of a hash would hardly be theirs."""

    one: str
    two: str
    three: str
    four: str
    five: str
    six: str
    seven: str
    eight: str
    names: frozenset[str]


ADDRESSES = st.builds(Address, st.text(max_size=3), st.lists(st.text(max_size=3), max_size=2).map(tuple))
EVERYTHING = st.builds(
    Everything,
    sku=st.text(max_size=3).map(Sku),
    amount=st.decimals(allow_nan=False),
    at=st.datetimes(timezones=st.just(dt.UTC)),
    of=st.uuids(),
    raw=st.binary(max_size=3),
    size=st.sampled_from(Size),
    to=ADDRESSES,
    perhaps=st.none() | ADDRESSES,
    stops=st.lists(ADDRESSES, max_size=2),
    pair=st.tuples(st.integers(), st.sampled_from(Size)),
    by_size=st.dictionaries(st.sampled_from(Size), ADDRESSES),
    sizes=st.frozensets(st.sampled_from(Size)),
    way=st.sampled_from(["up", "down"]),
    counts=st.dictionaries(st.text(max_size=2), st.integers()),
    anything=st.none() | st.text(max_size=2) | st.tuples(st.integers()),
    either=st.none() | st.integers() | st.text(max_size=2),
    tags=st.lists(st.text(max_size=2), max_size=2),
)


@settings(max_examples=40)
@given(EVERYTHING)
def test_a_dataclass_comes_back_as_it_went(event: Everything) -> None:
    schema = EventSchema(EventType("everything", Everything))
    assert schema.decode(*schema.encode(event)) == (event,)


def test_the_same_event_is_the_same_bytes_in_each_process() -> None:
    event = Tags(*"abcdefgh", frozenset({"x1", "x2", "x3", "x4", "x5", "x6"}))
    data = form_of(Tags).dump(event)
    assert list(data) == [field.name for field in dataclasses.fields(Tags)]
    assert b'["x1","x2","x3","x4","x5","x6"]' in DATA.encode(data)


class Paid(msgspec.Struct, frozen=True):
    amount: decimal.Decimal
    at: Annotated[dt.datetime, msgspec.Meta(tz=True)]
    size: Size
    to: dict[int, str] = {}


class Shipped(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, frozen=True)

    amount: decimal.Decimal
    at: dt.datetime
    size: Size
    of: uuid.UUID = pydantic.Field(alias="orderId")


AT = dt.datetime(2026, 3, 4, 5, 6, 7, 8, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "event",
    [
        Paid(decimal.Decimal("1.10"), AT, Size.LARGE, {1: "a"}),
        Shipped(amount=decimal.Decimal("1.10"), at=AT, size=Size.SMALL, orderId=uuid.UUID(int=7)),
    ],
    ids=["msgspec", "pydantic"],
)
def test_a_struct_and_a_strict_model_come_back_as_they_went(event: Any) -> None:
    schema = EventSchema(EventType("it", type(event)))
    assert schema.decode(*schema.encode(event)) == (event,)


@dataclasses.dataclass(frozen=True)
class Placed:
    order: str
    currency: str
    cents: int = 0


@dataclasses.dataclass(frozen=True)
class Confirmed:
    order: str


def with_currency(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "currency": "EUR"}


def in_cents(data: dict[str, Any]) -> dict[str, Any]:
    data["cents"] = int(data.pop("euros") * 100)
    return data


PLACED = EventType("placed", Placed, version=3, upcasters={1: with_currency, 2: in_cents}, earlier_names=["Placed"])


def stored(name: str, version: int, **data: Any) -> tuple[Any, ...]:
    """What a schema with all versions reads of one that was stored."""
    return EventSchema(PLACED).decode(name, version, DATA.encode(data))


def test_each_version_under_each_name_is_read_as_the_newest() -> None:
    newest = (Placed("o-1", "EUR", 150),)
    for name in ("placed", "Placed"):
        assert stored(name, 1, order="o-1", euros=1.5) == newest
        assert stored(name, 2, order="o-1", euros=1.5, currency="EUR") == newest
        assert stored(name, 3, order="o-1", cents=150, currency="EUR") == newest
    assert EventSchema(PLACED).dump(Placed("o-1", "EUR"))[:2] == ("placed", 3)


def test_a_field_with_a_default_may_be_added_and_one_that_is_unknown_is_left_out() -> None:
    assert stored("placed", 3, order="o-1", currency="EUR", of_tomorrow=1) == (Placed("o-1", "EUR", 0),)


def test_an_upcaster_may_make_several_events_in_their_order_or_none() -> None:
    def split(data: dict[str, Any]) -> list[EventPart]:
        return [EventPart("placed", 1, {**data, "euros": 1}), EventPart("confirmed", 1, data)] if data else []

    schema = EventSchema(
        PLACED,
        EventType("confirmed", Confirmed),
        EventType("bought", Address, version=2, upcasters={1: split}),
    )
    assert schema.load(EventPart("bought", 1, {"order": "o-1"})) == (Placed("o-1", "EUR", 100), Confirmed("o-1"))
    assert schema.load(EventPart("bought", 1, {})) == ()


def test_an_upcaster_gets_a_copy() -> None:
    data = {"order": "o-1", "euros": 1, "currency": "EUR"}
    EventSchema(PLACED).load(EventPart("placed", 2, data))
    assert data == {"order": "o-1", "euros": 1, "currency": "EUR"}


def fails(_: Any) -> Any:
    raise KeyError("euros")


@pytest.mark.parametrize(
    ("error", "upcaster", "told"),
    [
        (CodecError, fails, "the upcaster of event 'it' from version 1 failed: KeyError: 'euros'"),
        (CodecError, lambda data: None, "the upcaster of event 'it' from version 1 gave None"),
        (CodecError, lambda data: [EventPart("it", 1, data)], "without end"),
        (CodecError, lambda data: {"street": 1, "order": 1}, "does not fit Confirmed: .*missing"),
        (UnknownVersion, lambda data: [EventPart("that", 1, {})], "event type 'that' is not known"),
    ],
)
def test_data_that_cannot_be_read_is_a_codec_error(error: type[Exception], upcaster: Any, told: str) -> None:
    kind = Placed if error is UnknownVersion else Confirmed
    schema = EventSchema(EventType("it", kind, version=2, upcasters={1: upcaster}))
    if told.startswith("does"):
        schema = EventSchema(EventType("it", Confirmed, version=2, upcasters={1: lambda data: {}}))
    with pytest.raises(error, match=told):
        schema.load(EventPart("it", 1, {}))


def test_what_a_newer_release_wrote_is_refused_and_what_is_too_old_too() -> None:
    schema = EventSchema(EventType("placed", Placed, version=3, since=2, upcasters={2: in_cents}))
    with pytest.raises(UnknownVersion, match="'placed' has version 4; this release knows 3"):
        schema.load(EventPart("placed", 4, {}))
    with pytest.raises(UnknownVersion, match="type 'paid' is not known"):
        schema.load(EventPart("paid", 1, {}))
    with pytest.raises(CodecError, match="'placed' has version 1; this release reads 2 and later"):
        schema.load(EventPart("placed", 1, {}))
    with pytest.raises(CodecError, match="not the data of an event"):
        schema.decode("placed", 3, DATA.encode([1]))


async def later(data: dict[str, Any]) -> dict[str, Any]:
    return data


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (lambda: EventType("placed", Placed, version=3, upcasters={1: in_cents}), "no upcaster from version 2 to 3"),
        (lambda: EventType("placed", Placed, upcasters={1: in_cents}), "upcasters must be a whole number from 1 to 0"),
        (lambda: EventType("placed", Placed, version=2, upcasters={1: later}), "is async"),
        (lambda: EventType("placed", Placed, since=2), "since must be a whole number from 1 to 1"),
        (lambda: EventType("placed", Placed, earlier_names="Placed"), "earlier_names must be a sequence"),
        (lambda: EventType("placed", Placed, personal={"order": ""}), "no subject"),
        (lambda: EventType("placed", Placed, subject="order", personal={"order": ""}), "cannot be a personal field"),
        (lambda: EventSchema(PLACED, EventType("Placed", Confirmed)), "'Placed' stands for two types"),
        (lambda: EventSchema(PLACED, EventType("other", Placed)), "Placed is the class of two event types"),
        (lambda: EventSchema(EventType("it", dict)), "dict is no class of events"),
        (lambda: EventSchema(PLACED).encode(Confirmed("o-1")), "Confirmed is no event of this schema"),
    ],
)
def test_what_is_missing_is_named_when_it_is_built(build: Callable[[], Any], told: str) -> None:
    with pytest.raises((ValueError, TypeError), match=told):
        build()


@dataclasses.dataclass
class Node:
    below: list[Node]


@dataclasses.dataclass
class Vague:
    either: Address | str


@dataclasses.dataclass
class Odd:
    what: Callable[[], None]


class Listed(msgspec.Struct, array_like=True):
    order: str


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Node, "Node holds itself"),
        (Vague, "Vague.either: a union of a record"),
        (Odd, "Odd.what: Callable cannot be stored"),
    ],
)
def test_a_class_that_would_not_come_back_is_refused(kind: type, told: str) -> None:
    with pytest.raises(TypeError, match=told):
        EventSchema(EventType("it", kind))


def test_a_struct_that_is_written_as_a_list_is_refused() -> None:
    with pytest.raises(TypeError, match="Listed is written as a list"):
        EventSchema(EventType("it", Listed)).encode(Listed("o-1"))


def test_data_of_a_record_that_is_none_is_refused() -> None:
    with pytest.raises(CodecError, match="not the fields of Address"):
        form_of(Everything).load({"to": 1})


def test_made_up_samples_can_be_read() -> None:
    for kind in (Everything, Paid, Shipped):
        form = form_of(kind)
        event = form.load(form.sample())
        assert form.load(form.dump(event)) == event
