"""Verdicts on many answers are one line, and say what is wrong."""

from __future__ import annotations

import pytest

from sdpatterns.testing.contracts.verdicts import assert_each_once, assert_same


def test_numbers_in_any_order_pass_when_each_is_there_once() -> None:
    assert_each_once([2, 0, 1], 3)
    assert_each_once([], 0)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([0, 1, 1], "3 answers for 3 steps: 1 missing (first: 2), 1 more than once (first: 1)"),
        ([0, 1], "2 answers for 3 steps: 1 missing (first: 2)"),
        ([0, 1, 2, 7, -1], "5 answers for 3 steps: 2 not expected (first: 7)"),
        ([0] * 100_000, "100000 answers for 3 steps: 2 missing (first: 1), 1 more than once (first: 0)"),
    ],
)
def test_missing_repeated_and_unexpected_numbers_are_counted(found: list[int], said: str) -> None:
    with pytest.raises(AssertionError) as caught:
        assert_each_once(found, 3)
    assert str(caught.value) == said


def test_equal_lists_pass() -> None:
    assert_same([1, None], [1, None])
    assert_same(list(range(3)), range(3))


@pytest.mark.parametrize(
    ("found", "wanted", "said"),
    [
        ([1, 2], [1, 2, 3], "2 answers in place of 3"),
        ([1, 5, 6], [1, 2, 3], "2 of 3 answers are wrong; answer 1 is 5 in place of 2"),
    ],
)
def test_lists_that_differ_name_the_first_difference(found: list[int], wanted: list[int], said: str) -> None:
    with pytest.raises(AssertionError) as caught:
        assert_same(found, wanted)
    assert str(caught.value) == said


@pytest.mark.parametrize("long", ["x" * 200_000, b"\xff" * 200_000, list(range(200_000)), [["x" * 90_000] * 9]])
def test_a_long_answer_is_shown_shortened(long: object) -> None:
    with pytest.raises(AssertionError) as caught:
        assert_same([long] * 1000, [None] * 1000)
    assert len(str(caught.value)) < 300
