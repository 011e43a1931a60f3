"""The fixtures, as a user's test suite gets them: installed with the package, nothing to name."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest

from sdpatterns.testing import plugin

pytest_plugins = ["pytester"]

SUITE = """
import asyncio, time, trio
import pytest
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.runtime import current, finish

def test_clock(virtual_clock):
    before = SYSTEM.monotonic()
    virtual_clock.advance(30)
    assert SYSTEM.monotonic() == before + 30

def test_no_waiting_blocking(no_waiting):
    finish(current().sleep(3600))
    assert no_waiting.passed_us == 3_600_000_000

def test_no_waiting_asyncio(no_waiting):
    async def main():
        await asyncio.gather(*(current().sleep(60) for _ in range(3)))
    asyncio.run(main())
    assert no_waiting.passed_us == 180_000_000

def test_no_waiting_trio(no_waiting):
    async def main():
        await current().sleep(3600)
    trio.run(main)
    assert no_waiting.passed_us == 3_600_000_000

def test_no_waiting_is_still_a_checkpoint(no_waiting):
    async def main():
        async with asyncio.timeout(0):
            await current().sleep(60)
    with pytest.raises(TimeoutError):
        asyncio.run(main())

def test_memory(memory_backend):
    assert memory_backend.states.runtime is None

def test_afterwards_time_is_real():
    before = SYSTEM.monotonic()
    finish(current().sleep(0.002))
    assert 0.002 <= SYSTEM.monotonic() - before < 60
"""


def test_a_suite_that_uses_all_fixtures_passes(pytester: pytest.Pytester, only_named_plugins: None) -> None:
    pytester.makepyfile(SUITE)
    # `sdpatterns` is the name of the entry point, by which pytest finds the plugin on its own.
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "sdpatterns")
    result.assert_outcomes(passed=7)


def test_pytest_finds_the_plugin_without_being_told() -> None:
    (found,) = entry_points(group="pytest11", name="sdpatterns")
    assert found.load() is plugin
