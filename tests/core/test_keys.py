from __future__ import annotations

import itertools
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpatterns.core.keys import check_name, join_key, key_of


@given(st.lists(st.text(), min_size=1).map(tuple), st.lists(st.text(), min_size=1).map(tuple))
def test_different_parts_never_give_the_same_key(left: tuple[str, ...], right: tuple[str, ...]) -> None:
    assert (join_key(*left) == join_key(*right)) == (left == right)


def test_parts_that_look_alike_stay_apart() -> None:
    alphabet = ["", "/", "%", "%2F", "%25", "a"]
    keys = {join_key(*parts) for size in (1, 2, 3) for parts in itertools.product(alphabet, repeat=size)}
    assert len(keys) == 6 + 6**2 + 6**3


@pytest.mark.parametrize("name", ["api", "a b", "x" * 200, "zahlung-ü", "鍵"])
def test_a_printable_name_is_a_name(name: str) -> None:
    assert check_name("RateLimiter", name) == name


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", "\x00", "\u200b"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="RateLimiter needs a name"):
        check_name("RateLimiter", name)


def test_a_key_is_a_string_or_made_from_the_call() -> None:
    assert key_of("tenant")(1, a=2) == "tenant"
    assert key_of(lambda order: f"customer-{order}")(5) == "customer-5"
    with pytest.raises(TypeError, match="int"):
        key_of(cast("str", 5))
