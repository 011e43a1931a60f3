"""What cells are called on the server."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from redis.crc import key_slot

from sdpatterns.backends.redis.names import cell_name, cell_space

WORDS = st.text(st.sampled_from("ab/{}%2F7BD:"), max_size=6)


@given(
    st.lists(st.tuples(WORDS.filter(bool), WORDS, st.none() | WORDS.filter(bool)), min_size=2, max_size=2, unique=True)
)
@example([("s", "a/b", None), ("s/a", "b", None)])
@example([("a", "b", "g"), ("{g}a", "b", None)])
def test_different_cells_have_different_names(places: list[tuple[str, str, str | None]]) -> None:
    names = {cell_name(cell_space("sdp", space, group), key) for space, key, group in places}
    assert len(names) == 2


@given(WORDS, WORDS, WORDS.filter(bool))
def test_only_the_group_chooses_the_node(space: str, key: str, group: str) -> None:
    grouped = cell_name(cell_space("sdp", space, group), key)
    tag = re.search(rb"\{([^}]+)\}", grouped)
    assert tag is not None
    assert key_slot(grouped) == key_slot(tag[1])
    assert b"{" not in cell_name(cell_space("sdp", space, None), key)


@pytest.mark.parametrize(
    ("space", "group", "key", "name"),
    [
        ("limiter/api", None, "user:42", b"sdp:limiter/api/user:42"),
        ("limiter/api", "api", "user:42", b"sdp:{api}limiter/api/user:42"),
        ("s", None, "a/{b}%", b"sdp:s/a%2F%7Bb%7D%25"),
    ],
)
def test_a_usual_name_can_be_read(space: str, group: str | None, key: str, name: bytes) -> None:
    assert cell_name(cell_space("sdp", space, group), key) == name
