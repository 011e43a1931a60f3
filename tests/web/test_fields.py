"""Fields: what is asked for and known is shown, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpatterns.web.fields import Fields

ORDER = {
    "id": 7,
    "total": {"amount": 12, "currency": "EUR"},
    "lines": [{"sku": "a", "price": {"amount": 6, "margin": 2}}, {"sku": "b", "price": None}],
    "secret": "x",
}
KNOWN = Fields.parse("id,total,lines(sku,price(amount))")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id", {"id": 7}),
        ("total,id", {"id": 7, "total": ORDER["total"]}),
        ("lines(sku)", {"lines": [{"sku": "a"}, {"sku": "b"}]}),
        ("lines(price)", {"lines": [{"price": {"amount": 6}}, {"price": None}]}),
        ("lines", {"lines": [{"sku": "a", "price": {"amount": 6}}, {"sku": "b", "price": None}]}),
        ("lines(sku),lines(price(amount)),id,id", {"id": 7, "lines": KNOWN.of(ORDER)["lines"]}),
        ("lines(sku),lines", {"lines": KNOWN.of(ORDER)["lines"]}),
        ("lines(price(amount),price(amount))", {"lines": [{"price": {"amount": 6}}, {"price": None}]}),
    ],
)
def test_the_fields_asked_for_are_shown_as_far_as_known(text: str, expected: Any) -> None:
    found = Fields.parse(text, known=KNOWN).of(ORDER)
    assert found == expected
    assert list(found) == [name for name in ORDER if name in found]


def test_a_list_a_tuple_and_a_plain_value() -> None:
    fields = Fields.parse("id")
    assert fields.of([ORDER, ORDER]) == [{"id": 7}, {"id": 7}]
    assert fields.of(({"id": 1},)) == [{"id": 1}]
    assert (fields.of(5), fields.of({})) == (5, {})


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "its end"),
        (",", "character 1"),
        ("id,", "its end"),
        ("id,,total", "character 4"),
        ("lines(", "its end"),
        ("lines()", "character 7"),
        ("lines(sku", "its end"),
        ("lines(sku))", "character 11"),
        ("id total", "character 3"),
        ("(id)", "character 1"),
        ("lines(sku)id", "character 11"),
        ("é", "character 1"),
        ("7", "character 1"),
        ("id\n", "character 3"),
        ("secret", "'secret', which is unknown"),
        ("lines(cost)", "'lines.cost', which is unknown"),
        ("id(x)", "parts of 'id'"),
        ("a" * 2049, "2048"),
        (",".join(["id"] * 129), "128"),
        ("a(" * 8 + "a" + ")" * 8, "deep"),
    ],
)
def test_bad_input_is_told_what_is_wrong(text: str, word: str) -> None:
    with pytest.raises(ValueError, match="fields") as caught:
        Fields.parse(text, known=KNOWN)
    assert word in str(caught.value)


@given(text=st.text(alphabet="ab(),é ", max_size=30))
def test_any_text_is_read_or_refused_by_a_value_error(text: str) -> None:
    try:
        found = Fields.parse(text).of({"a": {"b": 1}, "b": [{"a": 2}], "c": 3})
    except ValueError:
        return
    assert "c" not in found
