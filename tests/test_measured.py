"""Coverage measures the tests that are there for it, and no others: in a run with workers as in one without."""

from __future__ import annotations

import inspect
import os
import sys

import pytest

from tests.measured import FOR_CHILDREN, UNMEASURED


@pytest.fixture
def traced() -> bool:
    return sys.gettrace() is not None


@pytest.mark.unmeasured
def test_nothing_is_measured_in_a_test_marked_unmeasured(*, traced: bool) -> None:
    assert not traced
    assert sys.gettrace() is None
    assert FOR_CHILDREN not in os.environ


def test_the_other_tests_and_their_fixtures_are_measured(request: pytest.FixtureRequest, *, traced: bool) -> None:
    with_coverage = request.config.pluginmanager.hasplugin("_cov") and not request.config.getoption("no_cov")
    assert traced == (sys.gettrace() is not None) == with_coverage == (FOR_CHILDREN in os.environ)


def test_children_may_be_left_out(children_unmeasured: None) -> None:
    assert FOR_CHILDREN not in os.environ


def test_a_fixture_that_a_running_test_asks_for_leaves_it_measured(request: pytest.FixtureRequest) -> None:
    before = sys.gettrace() is not None
    assert request.getfixturevalue("traced") == before
    assert (sys.gettrace() is not None) == before


def test_each_test_that_is_not_measured_exists(pytestconfig: pytest.Config) -> None:
    for test in UNMEASURED:
        path, _, name = test.partition("[")[0].partition("::")
        assert (pytestconfig.rootpath / path).exists(), test
        assert not name or f"def {name}(" in (pytestconfig.rootpath / path).read_text(encoding="utf-8"), test


def test_coverage_does_not_patch_the_end_of_a_process_for_each_test() -> None:
    times, end = 0, os._exit
    while end.__name__ == "coverage_os_exit_patch":
        end = inspect.getclosurevars(end).nonlocals["old_exit"]
        times += 1
    assert times <= 3, "a worker measures itself, and pytest-cov starts twice in it"
