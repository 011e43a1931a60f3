from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import itertools
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpatterns.coordination.idempotency.fingerprint import fingerprint, of_call


class Colour(enum.Enum):
    RED = 1


class Shade(enum.IntEnum):
    RED = 1


@dataclasses.dataclass
class Order:
    sku: str
    quantity: int


@dataclasses.dataclass
class Refund:
    sku: str
    quantity: int


DIFFERENT: list[Any] = [
    None, True, False, 0, 1, 1.0, "1", b"1", "", b"", [], {}, [[]], [1], ["1"], [1, 2], [[1], 2], [1, [2]],
    {"a": 1}, {"a": "1"}, {"b": 1}, ["a", 1], [["a", 1]], decimal.Decimal(1), decimal.Decimal("1.0"),
    dt.date(2026, 1, 1), dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "2026-01-01", uuid.UUID(int=1), str(uuid.UUID(int=1)),
    Colour.RED, Shade.RED, Order("a", 1), Refund("a", 1), {"sku": "a", "quantity": 1}, "ab", ["a", "b"], ["ab", ""],
]  # fmt: skip


def test_no_two_different_requests_share_a_fingerprint() -> None:
    for one, other in itertools.combinations(DIFFERENT, 2):
        assert fingerprint(one) != fingerprint(other), (one, other)


def test_a_fingerprint_is_the_same_in_each_release() -> None:
    # A key that was stored before a deploy is looked up after it.
    parts = {"b": [1, True, None, 2.5], "a": ("x", decimal.Decimal("1.0"))}
    request = ["POST", "", b"/v1/stock", b"", "", ["application/json"], parts]
    assert fingerprint(request) == "eae59034645ea503657db0a6f3f9fb8497e78f20"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ([1, 2], (1, 2)),
        (b"x", bytearray(b"x")),
        (-0.0, 0.0),
        (Order("a", 1), Order("a", 1)),
    ],
)
def test_the_same_request_has_the_same_fingerprint(one: object, other: object) -> None:
    assert fingerprint(one) == fingerprint(other)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(one=plain, other=plain)
def test_fingerprints_are_equal_where_values_are(one: object, other: object) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (repr(one) == repr(other) or _same(one, other))


def _same(one: object, other: object) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other


@pytest.mark.parametrize("value", [object(), {1: 2}, float("nan"), float("inf"), {1}, lambda: None, [object()]])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        fingerprint(value)


def test_a_request_nested_without_end_is_refused() -> None:
    nested: list[object] = []
    nested.append(nested)
    with pytest.raises(TypeError, match="nested deeper"):
        fingerprint(nested)


async def pay(order: str, amount: int = 5, *, note: str = "") -> None: ...


async def refund(order: str, amount: int = 5, *, note: str = "") -> None: ...


class Payments:
    async def pay(self, order: str) -> None: ...


def test_arguments_count_by_name_however_they_were_passed() -> None:
    mark = of_call(pay)
    assert mark("a") == mark(order="a") == mark("a", 5, note="")
    assert mark("a") != mark("a", 6)
    assert mark("a") != of_call(refund)("a")


def test_the_object_of_a_method_does_not_count() -> None:
    mark = of_call(Payments.pay)
    assert mark(Payments(), "a") == mark(Payments(), order="a") != mark(Payments(), "b")


class Paying:
    async def __call__(self, order: str) -> None: ...


def test_a_partial_counts_what_it_was_given_and_a_callable_object_its_class() -> None:
    assert of_call(functools.partial(pay, "a", note="x"))(6) == of_call(pay)("a", 6, note="x")
    assert of_call(Paying())("a") == of_call(Paying())(order="a") != of_call(Paying())("b")
