from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpatterns.core.codec import IntegersCodec, JsonCodec, split_version
from sdpatterns.errors import CodecError, UnknownVersion

plain: JsonCodec[Any] = JsonCodec(lambda value: value, lambda value: value)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["$bytes", "$$bytes"]), inner),
    max_leaves=10,
)


@given(st.lists(st.integers()).map(tuple))
def test_whole_numbers_come_back(numbers: tuple[int, ...]) -> None:
    codec = IntegersCodec()
    assert codec.decode(codec.encode(numbers)) == numbers


def test_whole_numbers_are_readable_text() -> None:
    assert IntegersCodec().encode((5, -7)) == b"1:5 -7"
    assert IntegersCodec(version=3).encode(()) == b"3:"


@given(json_values)
def test_json_comes_back(value: Any) -> None:
    assert plain.decode(plain.encode(value)) == value


@pytest.mark.parametrize("key", ["$bytes", "$$bytes", "$", "bytes"])
@pytest.mark.parametrize("inside", ["Zm9v", 5, b"foo", {"$bytes": "Zm9v"}])
def test_a_mapping_that_looks_like_bytes_stays_a_mapping(key: str, inside: Any) -> None:
    for value in ({key: inside}, [{"a": ({key: inside},)[0]}], {key: inside, "b": 1}):
        assert plain.decode(plain.encode(value)) == value


def test_bytes_at_the_end_of_a_list_are_written_as_bytes_elsewhere_are() -> None:
    for first in (200, "é", [], {"$bytes": "Zm9v"}, [b"foo", {"$$bytes": 1}], None):
        for last in (b"", b"foo", bytes(range(256))):
            value = [first, last]
            written = plain.encode([*value, None]).removesuffix(b",null]") + b"]"
            assert plain.encode(value) == written
            assert plain.decode(written) == value
    assert plain.encode([200, [], b"foo"]) == b'1:[200,[],{"$bytes":"Zm9v"}]'
    assert plain.encode([b"foo"]) == b'1:[{"$bytes":"Zm9v"}]'


@pytest.mark.parametrize("data", [b"", b"5", b":5", b"x:5", b"-1:5", b" 1:5", b"\x80\x05K\x01.", b"\xb2:5"])
def test_bytes_without_a_version_are_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        split_version(data)
    with pytest.raises(CodecError):
        IntegersCodec().decode(data)
    with pytest.raises(CodecError):
        plain.decode(data)


def test_a_newer_version_is_refused() -> None:
    with pytest.raises(UnknownVersion, match="2"):
        IntegersCodec(version=1).decode(b"2:5")
    with pytest.raises(UnknownVersion, match="2"):
        plain.decode(b"2:5")


def test_an_older_version_is_brought_forward_or_refused() -> None:
    assert IntegersCodec(version=2).decode(b"1:5") == (5,)
    newer: JsonCodec[Any] = JsonCodec(
        lambda value: value, lambda value: value, version=3, older={2: lambda name: {"name": name}}
    )
    assert newer.decode(b'2:"Ada"') == {"name": "Ada"}
    assert newer.decode(b'3:{"name":"Ada"}') == {"name": "Ada"}
    with pytest.raises(UnknownVersion):
        newer.decode(b'1:"Ada"')


@pytest.mark.parametrize("data", [b"1:x", b"1:1.5", b"1:1,2", b"1:\xff"])
def test_what_is_no_number_is_refused(data: bytes) -> None:
    with pytest.raises(CodecError, match="whole numbers"):
        IntegersCodec().decode(data)


@pytest.mark.parametrize("data", [b"1:", b"1:{", b"1:\xff", b"1:[1,]"])
def test_what_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(CodecError, match="JSON"):
        plain.decode(data)


def test_a_value_that_is_not_plain_is_refused_when_written() -> None:
    with pytest.raises(TypeError, match="object"):
        plain.encode(object())


def test_a_value_that_holds_itself_is_refused() -> None:
    node: dict[str, Any] = {"body": "x" * 200}
    node["children"] = [{"parent": node}]
    with pytest.raises(ValueError, match="Circular"):
        JsonCodec[Any](lambda value: value, lambda value: value).encode(node)
