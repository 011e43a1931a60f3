"""Entity tags and preconditions, as RFC 9110 has them."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpatterns.web.etags import ANY, ETag, etag_of, parse_etag, parse_tags, precondition

A, WEAK_A = ETag("a"), ETag("a", weak=True)
NOON = dt.datetime(2026, 5, 1, 12, 0, 0, 700_000, tzinfo=dt.UTC)
AT_NOON, BEFORE, AFTER = (f"Fri, 01 May 2026 {time} GMT" for time in ("12:00:00", "11:59:59", "12:00:01"))


def test_the_comparisons_of_the_table_in_the_rfc() -> None:
    pairs = [(WEAK_A, WEAK_A), (WEAK_A, ETag("b", weak=True)), (WEAK_A, A), (A, A)]
    assert [one.is_same(other) for one, other in pairs] == [False, False, False, True]
    assert [one.is_as_good(other) for one, other in pairs] == [True, False, True, True]


@given(opaque=st.text(st.sampled_from("!#aZ,\\/~é"), max_size=9), weak=st.booleans())
def test_a_tag_is_read_as_it_was_written(opaque: str, weak: bool) -> None:
    tag = ETag(opaque, weak)
    assert parse_etag(str(tag)) == tag
    assert parse_tags([str(tag), f"{tag} ,, {tag}"]) == [tag] * 3


@pytest.mark.parametrize(
    "text", ["", "a", '"a', 'a"', 'w/"a"', '"a b"', '"a""b"', "'a'", 'W/ "a"', "*", '"a", "b"', '"€"']
)
def test_what_is_no_tag_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an entity tag"):
        parse_etag(text)


@pytest.mark.parametrize("text", ["", "a", '"a" "b"', '"a", *', "*, *", '"a', ",", '"a"' + ', "b"' * 4000])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a list"):
        parse_tags([text])


def test_a_star_stands_for_anything() -> None:
    assert parse_tags([" * "]) == ANY


def test_tags_differ_where_their_parts_do() -> None:
    assert len({etag_of(b"ab", "c"), etag_of("a", "bc"), etag_of("abc"), etag_of("ab", "c", weak=True)}) == 4
    assert etag_of("order", 7) == etag_of(b"order", "7")


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("GET", {}, None),
        ("GET", {"If-None-Match": '"a"'}, 304),
        ("HEAD", {"If-None-Match": 'W/"a"'}, 304),
        ("GET", {"If-None-Match": '"x", "a"'}, 304),
        ("GET", {"If-None-Match": '"x"'}, None),
        ("GET", {"If-None-Match": "*"}, 304),
        ("GET", {"If-None-Match": "broken"}, None),
        ("PUT", {"If-None-Match": "broken"}, 412),
        ("PUT", {"If-None-Match": "*"}, 412),
        ("PUT", {"If-None-Match": '"x"'}, None),
        ("PUT", {"If-Match": '"a"'}, None),
        ("PUT", {"If-Match": "*"}, None),
        ("PUT", {"If-Match": 'W/"a"'}, 412),
        ("PUT", {"If-Match": '"x"'}, 412),
        ("PUT", {"If-Match": "broken"}, 412),
        ("GET", {"If-Match": '"x"', "If-None-Match": '"a"'}, 412),
        ("GET", {"If-Match": '"a"', "If-None-Match": '"a"'}, 304),
        ("GET", {"If-Modified-Since": AT_NOON}, 304),
        ("GET", {"If-Modified-Since": AFTER}, 304),
        ("GET", {"If-Modified-Since": BEFORE}, None),
        ("GET", {"If-Modified-Since": "Fri, 01 May 2026 12:00:00 -0000"}, 304),
        ("GET", {"If-Modified-Since": "yesterday"}, None),
        ("PUT", {"If-Modified-Since": AT_NOON}, None),
        ("GET", {"If-None-Match": '"x"', "If-Modified-Since": AT_NOON}, None),
        ("PUT", {"If-Unmodified-Since": AT_NOON}, None),
        ("PUT", {"If-Unmodified-Since": BEFORE}, 412),
        ("PUT", {"If-Unmodified-Since": "never"}, None),
        ("PUT", {"If-Match": '"a"', "If-Unmodified-Since": BEFORE}, None),
    ],
    ids=str,
)
def test_conditions_are_judged_in_the_order_of_the_rfc(method: str, headers: dict[str, str], expected: Any) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert precondition(method, raw, etag=A, modified_at=NOON) == expected
    assert precondition(method, raw, etag=A, modified_at=NOON.replace(tzinfo=None)) == expected


@pytest.mark.parametrize(
    ("header", "etag", "exists", "expected"),
    [
        ("If-Match: *", None, False, 412),
        ('If-Match: "a"', None, False, 412),
        ("If-None-Match: *", None, False, None),
        ("If-None-Match: *", None, True, 412),
        ('If-Match: "a"', None, True, 412),
        ('If-Match: W/"a"', WEAK_A, True, 412),
    ],
)
def test_what_is_not_there_or_has_no_strong_tag(header: str, etag: ETag | None, exists: bool, expected: Any) -> None:
    name, value = header.split(": ")
    assert precondition("PUT", [(name.encode(), value.encode())], etag=etag, exists=exists) == expected
