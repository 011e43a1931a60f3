"""A rate as text: what is read, what is written, what is refused, and what pydantic makes of it."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from sdpatterns import Rate, per_day, per_hour, per_minute, per_second

READ = {
    "5/s": per_second(5),
    "5/sec": per_second(5),
    "5/second": per_second(5),
    "100/minute burst 20": per_minute(100, burst=20),
    "100 / minute  burst  20": per_minute(100, burst=20),
    " 7/m ": per_minute(7),
    "7/2 min": Rate(7, 120.0),
    "100 per hour": per_hour(100),
    "100 per 2 hours": Rate(100, 7_200.0),
    "10/15s": Rate(10, 15.0),
    "10/1.5s": Rate(10, 1.5),
    "1/0.000001s": Rate(1, 1e-6),
    "1000/day": per_day(1000),
    "1000/30d": Rate(1000, 30 * 86_400.0),
}
REFUSED = [
    "", "5", "5/", "/s", "5/fortnight", "5/month", "5/S", "5 /s burst", "5/s burst -1", "-5/s", "5.5/s", "5/s, 9/m",
    "5perhour", "5/1e3s", "5/.5s", "5/s burst 2 burst 3", "٥/s", "5/s\n9/s", "5x/s", "five/s", None, 5, b"5/s",
]  # fmt: skip
OUT_OF_RANGE = {
    "0/s": "count must be a whole number from 1",
    "5/s burst 0": "burst must be a whole number from 1",
    "5/0s": "period_s must be above 0",
    "5/400d": "period_s must be above 0 and at most 366 days",
    "9999999/s": "count must be at most one a microsecond",
    "9" * 5_000 + "/s": "count must be a whole number from 1 to 1000000000, got one of 5000 digits",
    "5/s burst " + "9" * 5_000: "burst must be a whole number from 1 to 1000000000, got one of 5000 digits",
}


def test_a_rate_is_read_from_text() -> None:
    for text, rate in READ.items():
        assert Rate.parse(text) == rate, text


def test_any_other_text_is_refused_with_an_example() -> None:
    for text in REFUSED:
        given_text: Any = text
        with pytest.raises(ValueError, match=re.escape("a rate is written like '5/s', '100 per hour', '10/15s'")):
            Rate.parse(given_text)


def test_a_rate_out_of_range_is_refused_with_its_field() -> None:
    for text, message in OUT_OF_RANGE.items():
        with pytest.raises(ValueError, match=re.escape(message)):
            Rate.parse(text)


def test_a_rate_is_written_shortly() -> None:
    shown = [str(rate) for rate in (per_second(5), per_minute(100, burst=20), Rate(10, 15), Rate(1, 1e-6), per_day(9))]
    assert shown == ["5/second", "100/minute burst 20", "10/15s", "1/0.000001s", "9/day"]


@given(
    st.integers(1, 1_000_000_000),
    st.floats(1e-6, 366 * 86_400.0) | st.integers(1, 366 * 86_400),
    st.none() | st.integers(1, 1_000_000_000),
)
def test_what_is_written_is_read_as_the_same_rate(count: int, period_s: float, burst: int | None) -> None:
    try:
        rate = Rate(count, period_s, burst=burst)
    except ValueError:
        return
    assert Rate.parse(str(rate)) == rate


def test_a_rate_is_a_value_that_never_changes() -> None:
    rate, same = Rate(5, 60, burst=2), per_minute(5, burst=2)
    assert rate == same
    assert len({rate, same}) == 1
    assert rate != per_minute(5)
    assert rate != "5/minute burst 2"
    assert repr(rate) == "Rate(count=5, period_s=60, burst=2)"
    for script in (copy.copy(rate), copy.deepcopy(rate), pickle.loads(pickle.dumps(rate))):
        assert script == rate
    with pytest.raises(AttributeError, match="a Rate does not change: make another one for count = 9"):
        rate.count = 9
    with pytest.raises(AttributeError, match="a Rate does not change"):
        del rate.count


class Settings(BaseModel):
    api: Rate
    several: list[Rate] = []
    other: Rate | None = None


def test_a_model_takes_a_rate_from_text_or_as_it_is_and_writes_the_text() -> None:
    settings = Settings.model_validate({"api": "100/minute burst 20", "several": ["5/s", per_hour(9)]})
    assert settings == Settings(api=per_minute(100, burst=20), several=[per_second(5), per_hour(9)])
    assert settings.model_dump()["api"] == per_minute(100, burst=20)
    assert settings.model_dump(mode="json")["several"] == ["5/second", "9/hour"]
    assert Settings.model_validate_json(settings.model_dump_json()) == settings
    assert TypeAdapter(Rate).json_schema() == {"type": "string"}


def test_a_model_says_what_is_wrong_with_a_rate() -> None:
    for given_value, message in (
        ("5/fortnight", "a rate is written like"),
        (5, "a rate is written like .* got 5"),
        ("0/s", "count must be"),
    ):
        with pytest.raises(ValidationError, match=message):
            Settings.model_validate({"api": given_value})
