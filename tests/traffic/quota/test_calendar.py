"""Where periods begin and end: moved clocks, short months, days that were left out."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdpatterns.traffic.quota.calendar import Calendar
from sdpatterns.traffic.quota.config import PERIODS, Period
from tests.traffic.quota.oracle import period_at

HOUR_US = 3_600_000_000
ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe",
    "Pacific/Apia", "America/Havana", "America/St_Johns", "Asia/Beirut", "America/Sao_Paulo", "Africa/Cairo",
]  # fmt: skip


def us(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).timestamp()) * 1_000_000


def span(zone: str, period: Period, at: str, month_begins: int = 1) -> tuple[int, int]:
    return tuple(Calendar(zone, month_begins).span(period, us(at)))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("zone", "at", "hours"),
    [
        ("Europe/Berlin", "2026-03-29T12:00+02:00", 23),
        ("Europe/Berlin", "2026-10-25T02:30+02:00", 25),
        ("Europe/Berlin", "2026-10-25T02:30+01:00", 25),
        ("Europe/Berlin", "2026-11-23T12:00+01:00", 24),
        ("Australia/Lord_Howe", "2026-04-05T12:00+10:30", 24.5),
        ("America/Havana", "2026-11-01T00:30-04:00", 25),
        ("America/Havana", "2026-11-01T00:30-05:00", 25),
        ("Asia/Beirut", "2026-03-29T12:00+03:00", 23),  # midnight itself is left out
    ],
)
def test_a_day_is_as_long_as_the_clocks_make_it(zone: str, at: str, hours: float) -> None:
    start, end = span(zone, "day", at)
    assert end - start == hours * HOUR_US
    assert start <= us(at) < end


def test_a_day_that_a_zone_left_out_has_no_length() -> None:
    before = span("Pacific/Apia", "day", "2011-12-29T23:59-10:00")
    after = span("Pacific/Apia", "day", "2011-12-31T00:00+14:00")
    assert before[1] == after[0] == us("2011-12-30T10:00+00:00")
    assert after[1] - after[0] == 24 * HOUR_US


def test_a_midnight_that_comes_twice_begins_one_day() -> None:
    # At a minute past midnight the clocks of Newfoundland went back to a minute past eleven.
    first = span("America/St_Johns", "day", "2010-11-07T00:00:30-02:30")
    assert first[0] == us("2010-11-07T00:00-02:30")
    for again in ("2010-11-06T23:30-03:30", "2010-11-07T00:00-03:30", "2010-11-07T12:00-03:30"):
        assert span("America/St_Johns", "day", again) == first


@pytest.mark.parametrize(
    ("at", "month_begins", "start", "end"),
    [
        ("2024-02-29T23:59:59+00:00", 1, "2024-02-01T00:00+00:00", "2024-03-01T00:00+00:00"),
        ("2026-12-31T23:59:59+00:00", 1, "2026-12-01T00:00+00:00", "2027-01-01T00:00+00:00"),
        ("2026-01-14T23:59:59+00:00", 15, "2025-12-15T00:00+00:00", "2026-01-15T00:00+00:00"),
        ("2026-12-15T00:00:00+00:00", 15, "2026-12-15T00:00+00:00", "2027-01-15T00:00+00:00"),
        ("2026-02-28T00:00:00+00:00", 31, "2026-02-28T00:00+00:00", "2026-03-31T00:00+00:00"),
        ("2026-02-27T12:00:00+00:00", 31, "2026-01-31T00:00+00:00", "2026-02-28T00:00+00:00"),
        ("2024-02-28T12:00:00+00:00", 30, "2024-01-30T00:00+00:00", "2024-02-29T00:00+00:00"),
    ],
)
def test_months_begin_on_their_day_or_on_the_last_one_of_a_short_month(
    at: str, month_begins: int, start: str, end: str
) -> None:
    assert span("UTC", "month", at, month_begins) == (us(start), us(end))


def test_weeks_begin_on_monday_and_years_in_january() -> None:
    assert span("UTC", "week", "2026-11-29T23:59+00:00") == (us("2026-11-23T00:00+00:00"), us("2026-11-30T00:00+00:00"))
    assert span("UTC", "year", "2026-06-01T00:00+00:00") == (us("2026-01-01T00:00+00:00"), us("2027-01-01T00:00+00:00"))


@given(st.sampled_from(ZONES), st.sampled_from(PERIODS), st.integers(0, 2**32 * 1_000_000), st.integers(1, 31))
def test_spans_follow_each_other_without_gap_or_overlap(zone: str, period: Period, at_us: int, begins: int) -> None:
    calendar = Calendar(zone, begins)
    start_us, end_us = calendar.span(period, at_us)
    assert start_us <= at_us < end_us
    assert calendar.span(period, start_us) == (start_us, end_us)
    assert calendar.span(period, end_us - 1) == (start_us, end_us)
    assert calendar.span(period, start_us - 1).end_us == start_us
    assert calendar.span(period, end_us).start_us == end_us


@given(st.sampled_from(ZONES), st.sampled_from(PERIODS), st.integers(0, 2**32), st.integers(0, 40 * 86_400))
def test_two_instants_share_a_span_as_they_share_a_page_on_the_wall(
    zone: str, period: Period, first_s: int, later_s: int
) -> None:
    calendar = Calendar(zone, 1)
    one_us, other_us = first_s * 1_000_000, (first_s + later_s) * 1_000_000
    same = period_at(zone, period, one_us) == period_at(zone, period, other_us)
    if zone == "America/St_Johns" and _was_put_back_past_midnight(one_us, other_us):
        return
    assert (calendar.span(period, one_us) == calendar.span(period, other_us)) is same


def _was_put_back_past_midnight(*instants_us: int) -> bool:
    # The hour in which the wall shows a day once more that is over; the test before this one has it.
    zone = ZoneInfo("America/St_Johns")
    shown = [dt.datetime.fromtimestamp(at_us / 1e6, zone) for at_us in instants_us]
    return any(at.fold or (at + dt.timedelta(hours=1)).date() != at.date() or at.hour == 0 for at in shown)


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "", "../etc/passwd", 3])
def test_a_zone_that_there_is_none_of_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match="zone must name a time zone"):
        Calendar(zone, 1)


@pytest.mark.parametrize("month_begins", [0, 32, 1.5, True])
def test_a_day_that_no_month_has_is_refused(month_begins: int) -> None:
    with pytest.raises(ValueError, match="month_begins must be a whole number from 1 to 31"):
        Calendar("UTC", month_begins)
