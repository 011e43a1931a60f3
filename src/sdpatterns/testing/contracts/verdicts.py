"""Verdicts on many answers: short however many there are.

pytest explains a failed `assert found == wanted` with a diff. For lists of hundreds of items or strings
of hundreds of kilobytes that takes minutes and explains nothing. These say in one line how many
answers are wrong, and show the first.
"""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["assert_each_once", "assert_same"]


def assert_each_once(found: Iterable[int], count: int) -> None:
    """Fail unless `found` holds each of the numbers 0 … `count` - 1 once, in any order."""
    times = Counter(found)
    missing = [number for number in range(count) if number not in times]
    repeated = [number for number, occurrences in times.items() if occurrences > 1]
    strange = [number for number in times if not 0 <= number < count]
    faults = [("missing", missing), ("more than once", repeated), ("not expected", strange)]
    said = [f"{len(numbers)} {what} (first: {numbers[0]})" for what, numbers in faults if numbers]
    if said:
        raise AssertionError(f"{times.total()} answers for {count} steps: {', '.join(said)}")


def assert_same(found: Sequence[Any], wanted: Sequence[Any]) -> None:
    """Fail unless the two are equal, item by item."""
    if len(found) != len(wanted):
        raise AssertionError(f"{len(found)} answers in place of {len(wanted)}")
    wrong = [place for place, (one, other) in enumerate(zip(found, wanted, strict=True)) if one != other]
    if wrong:
        first = wrong[0]
        raise AssertionError(
            f"{len(wrong)} of {len(wanted)} answers are wrong; answer {first} is "
            f"{reprlib.repr(found[first])} in place of {reprlib.repr(wanted[first])}"
        )
