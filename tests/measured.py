"""What coverage measures: the code of `src`, in the tests that are there for it, while they and our fixtures run.

Measuring makes all Python two to three times slower, in this process and in those that it starts. So nothing
is measured while pytest collects and reports, nor in the tests named below and those marked `unmeasured`: they
go through lines that other tests reach too.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import sdpatterns

UNMEASURED = {
    "tests/hazards/": "one situation for every pattern, thousands of times",
    "tests/house/": "reads the source and starts other programs",
    "tests/typing/": "starts type checkers",
    "tests/design/": "plays what a design note says, with code of its own",
    "tests/docs/": "runs the code of the pages, on patterns that have their own tests",
    "tests/testing/test_page.py": "starts another pytest, for contracts that tests/contracts runs too",
    "tests/test_costs.py": "starts another pytest, on tests that use nothing of ours",
    "tests/backends/memory/test_model.py": "thousands of random steps",
    "tests/resilience/test_breaker_model.py": "thousands of random steps",
    "tests/observability/test_redaction.py::test_a_long_text_takes_time_in_proportion_to_its_length": "long texts",
    "tests/core/test_forks.py::test_a_child_finds_no_change_that_is_half_made": "coverage would start in each child",
    "tests/backends/test_forks.py::test_many_forks_beside_many_steps": "coverage would start in each child",
    "tests/backends/test_hot_key.py": "thousands of steps in several processes",
    "tests/traffic/ratelimit/test_answers.py": "thousands of steps",
    "tests/web/test_connections.py::test_a_storm_of_cancellations_leaves_the_pool_whole[by_httpx2-": "as httpx",
    "tests/web/test_connections.py::test_a_storm_of_cancellations_leaves_the_pool_whole[by_httpx-tls": "as plain",
    "tests/web/test_aiohttp.py::test_a_storm_of_cancellations_leaves_the_pool_whole": "a thousand requests",
    "tests/observability/test_traces.py::test_many_threads_end_spans_and_look_at_once": "thousands of spans",
}
"""Tests that are not measured, as the beginning of their ids, and why: other tests reach the same lines."""

FOR_CHILDREN = "COVERAGE_PROCESS_CONFIG"
"""The variable that makes a Python process measure itself from its start."""

_MEASURED = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(tuple(UNMEASURED)):
            item.add_marker(pytest.mark.unmeasured)


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Measure from now on only what `Measuring` lets."""
    plugins = session.config.pluginmanager
    cov = plugins.getplugin("_cov")
    if cov is not None and cov.cov_controller is not None:
        plugins.register(Measuring(cov.cov_controller))


@pytest.fixture
def children_unmeasured() -> None:
    """Processes that the test starts are not measured, though the test is."""


class Measuring:
    """Starts coverage where a test or a fixture begins, and stops it where that ends."""

    def __init__(self, controller: Any) -> None:
        self.controller = controller
        self.for_children = os.environ.get(FOR_CHILDREN, "")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> Generator[None, object, object]:
        if hasattr(session.config, "workerinput") or not session.config.getoption("numprocesses", None):
            import_all()
        self.stop()
        return (yield)

    def stop(self) -> None:
        """Stop it in this process, and in those that start from now on."""
        import coverage

        # A worker of pytest-xdist has two: as a child it measures itself, and pytest-cov measures in it. When the
        # second stops, the first goes on, so that a test marked `unmeasured` would be measured by it.
        self.controller.pause()
        while (running := coverage.Coverage.current()) is not None:
            running.stop()
        os.environ.pop(FOR_CHILDREN, None)

    @contextmanager
    def running(self, item: pytest.Item) -> Iterator[None]:
        """Measure what runs in the block, if the test is measured."""
        if self.controller.started:  # inside a test that asks for a fixture while it runs
            yield
            return
        if item.get_closest_marker("unmeasured") is None:
            if "children_unmeasured" not in getattr(item, "fixturenames", ()):
                os.environ[FOR_CHILDREN] = self.for_children
            self.start()
        try:
            yield
        finally:
            self.stop()

    def start(self) -> None:
        """Go on measuring in this process."""
        # Each start of coverage patches `os._exit` and `os.fork` once more, whether they are patched or not.
        cov = self.controller.cov
        patches = cov.get_option("run:patch")
        cov.set_option("run:patch", [])
        self.controller.resume()
        cov.set_option("run:patch", patches)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        if not fixturedef.func.__module__.startswith(("tests.", "sdpatterns.")):
            return (yield)
        with self.running(request._pyfuncitem):
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        with self.running(item):
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        with self.running(item):
            return (yield)


def import_all() -> None:
    """Import every module of `src` while it is measured, because its `def` and `class` lines run only once."""
    for module in pkgutil.walk_packages(sdpatterns.__path__, "sdpatterns."):
        importlib.import_module(module.name)
