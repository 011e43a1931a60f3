"""The plain form of a batch: what was written comes through as it was written."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpatterns.web.batches import Entry, Item, ItemAnswer, answers, entries
from sdpatterns.web.problems import Problem

LITERALS = [
    "1.10",
    "1e400",
    "-0.0",
    "12345678901234567890.10",
    "9" * 5_000,
    '{"a":1, "a" : 2}',
    "[ 1,\n\t2 ]",
    r'"\u00e9\ud83d\ude00"',
    "false",
    "0",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(), inside, max_size=3),
    max_leaves=12,
)


def read(text: str, **settings: Any) -> list[Entry]:
    known: dict[str, Any] = {"items_max": 20, "methods": ["GET", "POST"], "headers": ["content-type"]}
    return entries(text.encode(), **known | settings)


def body_of(entry: Entry) -> bytes:
    assert isinstance(entry.request, Item), entry.request
    return entry.request.body


@pytest.mark.parametrize("literal", LITERALS, ids=lambda text: text[:20])
def test_a_body_goes_to_the_application_as_it_was_written(literal: str) -> None:
    [entry] = read(f'[{{"id":"a", "path":"/", "method":"POST", "body" : {literal} }}]')
    assert body_of(entry) == literal.encode()


@pytest.mark.parametrize("literal", LITERALS, ids=lambda text: text[:20])
def test_an_answer_stands_in_the_batch_as_it_was_written(literal: str) -> None:
    written = f" {literal}\n".encode()
    whole = answers([("a", ItemAnswer(200, [(b"content-type", b"application/json")], written))])
    assert whole == b'[{"id":"a","status":200,"headers":{"content-type":"application/json"},"body":' + written + b"}]"


@pytest.mark.parametrize("broken", ["", "NaN", "01", "[1", "1 2", "'a'", '"\n"', '{"a"}', "\ufeff1"])
def test_an_answer_that_only_says_that_it_is_json_is_text(broken: str) -> None:
    whole = answers([("a", ItemAnswer(200, [(b"content-type", b"application/json")], broken.encode()))])
    assert json.loads(whole)[0].get("body", "") == broken


@given(st.lists(JSON, min_size=1, max_size=3), st.sampled_from([None, 0, 1]), st.booleans())
def test_any_spelling_of_a_batch_is_read_as_json_reads_it(bodies: list[Any], indent: int | None, ascii_: bool) -> None:
    items = [{"id": str(place), "path": "/", "method": "POST", "body": body} for place, body in enumerate(bodies)]
    found = read(json.dumps(items, indent=indent, ensure_ascii=ascii_))
    assert [entry.id for entry in found] == [item["id"] for item in items]
    for entry, body in zip(found, bodies, strict=True):
        written = body_of(entry)
        assert (json.loads(written) if written else None) == body


@given(
    st.text(alphabet='[]{}:,"\\ \n01.eE+-tidpahbonul/', max_size=40)
    | st.builds(
        lambda place, cut, more: VALID[:place] + more + VALID[place + cut :],
        st.integers(0, 60), st.integers(0, 3), st.text(alphabet='[]{}:,"\\ 01', max_size=3),
    )
)  # fmt: skip
def test_what_json_does_not_read_is_no_batch(text: str) -> None:
    try:
        plain = json.loads(text)
    except ValueError:
        plain = None
    is_batch = isinstance(plain, list) and bool(plain) and all(isinstance(each, dict) for each in plain)
    try:
        ids = [entry.id for entry in read(text)]
    except ValueError:
        ids = None
    if ids is not None:
        assert is_batch
        assert ids == [each["id"] for each in plain]
    elif is_batch:
        named = [each.get("id") for each in plain]
        assert len(set(map(str, named))) < len(named) or not all(
            isinstance(id_, str) and re.fullmatch(r"[\w.~-]{1,64}", id_) for id_ in named
        )


VALID = '[{"id": "a", "path": "/x"}, {"id": "b", "path": "/y", "body": [1, 2]}]'


def test_no_body_and_one_that_is_null_are_none() -> None:
    absent, null = read('[{"id":"a","path":"/"},{"id":"b","path":"/","body":null}]')
    assert body_of(absent) == body_of(null) == b""


def test_of_two_members_of_one_name_the_last_counts() -> None:
    [entry] = read('[{"id":"a","path":"/x","body":1,"path":"/y","body":2}]')
    assert isinstance(entry.request, Item)
    assert (entry.request.path, entry.request.body) == ("/y", b"2")


def test_a_number_where_a_string_belongs_is_refused() -> None:
    [entry] = read('[{"id":"a","path":' + "9" * 5_000 + "}]")
    assert isinstance(entry.request, Problem)


def test_what_is_nested_without_end_is_no_batch() -> None:
    with pytest.raises(ValueError, match="A batch is a JSON list"):
        read('[{"id":"a","body":' + "[" * 200_000 + "]" * 200_000 + "}]")
