"""An outage is one warning, however many calls go on without the store."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest

from sdpatterns.core.outage import Outage


def test_each_outage_is_logged_when_it_is_first_met(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage("Guard 'api'", "allow")
    for _ in range(2):
        for number in range(3):
            outage.met(OSError(f"away {number}"))
        assert outage.is_on
        outage.is_on = False
    assert [(record.name, record.levelname, record.getMessage()) for record in caplog.records] == [
        ("sdpatterns", "WARNING", "Guard 'api' goes on without its store, on_outage='allow': away 0")
    ] * 2


class Store:
    pass


def test_the_first_outage_of_a_store_is_a_warning_even_without_logging() -> None:
    """Once for each store and process, whichever guard meets it first; also for a store with slots."""

    class Slotted:
        __slots__ = ()

    for store in (Store(), Store(), Slotted()):
        first, second = (Outage("Guard 'api'", "allow", store) for _ in range(2))
        with pytest.warns(RuntimeWarning, match="Guard 'api' goes on without its store") as seen:
            first.met(OSError("away"))
        assert len(seen) == 1
        if isinstance(store, Store):
            with warnings.catch_warnings(record=True) as again:
                second.met(OSError("away"))
            assert not again


def test_a_warning_that_is_an_error_takes_the_place_of_no_call() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outage = Outage("Guard 'api'", "allow", Store())
        outage.met(OSError("away"))
    assert outage.is_on


@pytest.mark.parametrize("policy", ["allow", "refuse"])
def test_a_mistyped_url_is_noticed_by_a_script_that_sets_nothing_up(policy: str) -> None:
    script = f"""
import asyncio
from sdpatterns import RateLimiter, per_second
from sdpatterns.backends.redis import RedisBackend

async def main():
    async with RedisBackend.from_url("redis://127.0.0.1:1") as backend:
        for name in ("one", "two"):
            limiter = RateLimiter(name, per_second(1), store=backend.states, on_outage={policy!r})
            print([(await limiter.acquire("a")).allowed for _ in range(3)])

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str([policy == "allow"] * 3)] * 2
    assert done.stderr.count("RuntimeWarning") == 1
    assert "redis://127.0.0.1:1 is away" in done.stderr
