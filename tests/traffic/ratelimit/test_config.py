"""Rates say what they mean, and refuse what they cannot keep."""

from __future__ import annotations

from typing import Any

import pytest

from sdpatterns.traffic.ratelimit import Rate, RateLimiter, per_day, per_hour, per_minute, per_second


@pytest.mark.parametrize(
    ("rate", "interval_us"),
    [
        (per_second(100), 10_000),
        (per_minute(1), 60_000_000),
        (per_hour(3600), 1_000_000),
        (per_day(1), 86_400_000_000),
        (per_second(3), 333_334),
        (Rate(1_000_000, 1.0), 1),
    ],
)
def test_the_interval_is_whole_and_never_too_short(rate: Rate, interval_us: int) -> None:
    assert rate.interval_us == interval_us
    assert rate.interval_us * rate.count >= rate.period_s * 1_000_000


def test_burst_is_the_count_unless_given() -> None:
    assert per_second(100).limit == 100
    assert per_second(100, burst=20).limit == 20


@pytest.mark.parametrize(
    ("count", "period_s", "burst", "field"),
    [
        (0, 1.0, None, "count"),
        (-1, 1.0, None, "count"),
        (1.5, 1.0, None, "count"),
        (True, 1.0, None, "count"),
        ("x", 1.0, None, "count"),
        (10**9 + 1, 1.0, None, "count"),
        (2, 0.000_001, None, "count"),
        (1, 0.0, None, "period_s"),
        (1, -1.0, None, "period_s"),
        (1, float("nan"), None, "period_s"),
        (1, float("inf"), None, "period_s"),
        (1, 367 * 86_400.0, None, "period_s"),
        (1, 1.0, 0, "burst"),
        (1, 1.0, -1, "burst"),
        (1, 1.0, 2.5, "burst"),
        (1, 86_400.0, 10**9, "burst"),
    ],
)
def test_a_bad_rate_is_refused_with_field_and_range(count: Any, period_s: Any, burst: Any, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Rate(count, period_s, burst=burst)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"rates": []}, "rates"),
        ({"rates": {}}, "rates"),
        ({"rates": {"": per_second(1)}}, "rates"),
        ({"rates": {"user": []}}, "rates"),
        ({"rates": [5]}, "rates"),
        ({"rates": "5/s"}, "rates"),
        ({"rates": 5}, "rates"),
        ({"on_outage": "ignore"}, "on_outage"),
        ({"keys_max": 0}, "keys_max"),
    ],
)
def test_a_bad_limiter_is_refused_at_construction(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        RateLimiter(settings.pop("name", "api"), settings.pop("rates", per_second(1)), **settings)
