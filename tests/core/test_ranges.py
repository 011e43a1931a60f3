"""Settings out of range are refused with the field, the value and the range, by one module for all rooms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sdpatterns import Quota, RateLimiter, daily, per_second
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.coordination.idempotency import Idempotency
from sdpatterns.core.ranges import number, one_of, ratio, seconds, whole
from sdpatterns.core.runtime import finish
from sdpatterns.errors import SdpatternsError

NO_NUMBERS: list[Any] = ["5", True, None, float("nan"), [5]]


def test_each_check_names_the_field_the_range_and_the_value() -> None:
    assert (whole("n", 3, 1, 5), number("n", 3, 1, 5), ratio("n", 1), seconds("n", 2)) == (3, 3.0, 1.0, 2.0)
    for check, message in (
        (lambda: whole("n", 9, 1, 5), "n must be a whole number from 1 to 5, got 9"),
        (lambda: whole("n", 0, 1), "n must be a whole number of 1 or more, got 0"),
        (lambda: whole("n", 9, 1, 5, of="the burst"), "n must be a whole number from 1 to 5, the burst, got 9"),
        (lambda: whole("n", 9, 1, 5, hint=": use 5"), "n must be a whole number from 1 to 5, got 9: use 5"),
        (lambda: number("n", 9, 0.5, 5), "n must be a number from 0.5 to 5, got 9"),
        (lambda: ratio("n", 0), "n must be above 0 and at most 1, got 0"),
        (lambda: seconds("n", 0), "n must be a finite number of seconds, above 0, got 0"),
        (lambda: one_of("n", "c", ("a", "b")), "n must be one of 'a', 'b', got 'c'"),
    ):
        with pytest.raises(ValueError, match="n must be") as caught:
            check()
        assert str(caught.value) == message


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_what_is_no_number_is_refused_by_its_field_in_every_room(value: Any) -> None:
    limiter, quota = RateLimiter("api", per_second(5)), Quota("api", daily(5))
    builders: dict[str, list[Callable[[], Any]]] = {
        "timeout_s": [
            lambda: RedisBackend.from_url("redis://localhost", timeout_s=value),
            lambda: SQLBackend("sqlite://", timeout_s=value),
        ],
        "connections_max": [lambda: RedisBackend.from_url("redis://localhost", connections_max=value)],
        "max_wait_s": [lambda: finish(limiter.wait("x", max_wait_s=value))],
        "cost": [lambda: quota.acquire_now("x", value)],
        "lease_s": [lambda: Idempotency("once", store=None, lease_s=value)],  # type: ignore[arg-type]
        "month_begins": [lambda: Quota("api", daily(5), month_begins=value)],
        "keys_max": [lambda: RateLimiter("api", per_second(5), keys_max=value)],
    }
    if value is not True:  # which equals 1, and the fast path looks no closer
        builders["cost"].append(lambda: limiter.acquire_now("x", value))
    for field, several in builders.items():
        for build in several:
            with pytest.raises(ValueError, match=f"{field} must be") as caught:
                build()
            assert repr(value) in str(caught.value)
            assert not isinstance(caught.value, SdpatternsError)
