"""Structured fields as they are written: ours beside the library's."""

from __future__ import annotations

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpatterns.web.http_sf import string_item, string_list

WHOLE = st.integers(-(10**15) + 1, 10**15 - 1)
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
MEMBERS = st.tuples(TEXT, st.fixed_dictionaries({"q": WHOLE, "pk": st.binary(max_size=20), "name": TEXT}))


@given(st.lists(MEMBERS, min_size=1, max_size=3))
def test_a_list_is_written_as_the_library_writes_it(members):
    assert string_list(members) == http_sf.ser([(text, dict(parameters)) for text, parameters in members])


@pytest.mark.parametrize(("text", "value"), [("é", 1), ("a\n", 1), ("a", 10**15), ("a", "\x7f")])
def test_what_a_field_cannot_carry_is_refused(text, value):
    with pytest.raises(ValueError, match=r"characters|range"):
        string_list([(text, {"q": value})])


@given(st.text(st.sampled_from('"\\ aZ~;=,\x7f\x1f\n'), max_size=6) | TEXT)
def test_a_string_is_read_as_the_library_reads_it(text):
    line = f'"{text}"'
    try:
        expected = http_sf.parse(line.encode(), tltype="item")[0]
    except ValueError:
        with pytest.raises(ValueError, match="not a structured field"):
            string_item([line])
    else:
        assert string_item([line]) == expected
