"""What all tests share. A failed comparison of two long values is told in a line; pytest's own diff of them takes
minutes. A pattern's tests run on three backends, each time the same."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.backends.everywhere import KINDS, LONG_ALONE, is_for_long_runs
from tests.conftest import pytest_assertrepr_compare

pytest_plugins = ["pytester"]


@pytest.mark.parametrize(
    ("left", "right", "said"),
    [
        (list(range(400)), [0] * 400, "400 items against 400; item 1 is the first that differs: 1 against 0"),
        ([0] * 400, [0] * 399, "400 items against 399; item 399 is the first that differs: 0 against nothing"),
        ([0] * 400, (0,) * 400, "400 items against 400; item none is the first that differs"),
        ("x" * 50_000, "x" * 50_000 + "y", "50000 items against 50001; item 50000 is the first that differs"),
        (dict.fromkeys(range(400), 0), {n: n // 399 for n in range(400)}, "1 of 400 keys differ, for example 399"),
        (set(range(400)), set(range(1, 400)), "1 of 400 items are in one of them only, for example 0"),
    ],
)
def test_long_values_are_compared_in_a_line(left: Any, right: Any, said: str) -> None:
    lines = pytest_assertrepr_compare("==", left, right)
    assert lines is not None
    assert said in lines[1]
    assert max(map(len, lines)) < 300


def test_short_values_and_other_operators_are_left_to_pytest() -> None:
    assert pytest_assertrepr_compare("==", [1, 2], [1, 3]) is None
    assert pytest_assertrepr_compare("in", 1, list(range(1000))) is None
    assert pytest_assertrepr_compare("==", list(range(1000)), 7) is None


def kinds_of(test: str) -> list[str]:
    return [kind for kind in KINDS if not is_for_long_runs(f"{test}[{kind}]", {"kind": kind})]


def test_a_patterns_test_runs_on_memory_valkey_and_one_sql_database() -> None:
    chosen = [kinds_of(f"tests/traffic/test_x.py::test_{number}") for number in range(40)]
    assert set(map(tuple, chosen)) == {("memory", "sqlite", "valkey"), ("memory", "postgres", "valkey")}
    assert 10 < sum("sqlite" in kinds for kinds in chosen) < 30


def test_tests_of_backends_and_contracts_run_on_all() -> None:
    always = [kind for kind in KINDS if kind not in LONG_ALONE]
    assert kinds_of("tests/backends/test_x.py::test_a") == kinds_of("tests/contracts/test_x.py::test_a") == always


def test_a_test_without_a_backend_always_runs() -> None:
    assert not is_for_long_runs("tests/traffic/test_x.py::test_a", {})
    assert not is_for_long_runs("tests/traffic/test_x.py::test_a[3-own]", {"count": 3, "store": "own"})


def test_a_test_that_swallows_the_time_limit_is_ended_with_its_worker(
    pytester: pytest.Pytester, only_named_plugins: None
) -> None:
    pytester.makepyfile(
        """
        import time
        def test_hangs():
            while True:
                try:
                    time.sleep(60)
                except BaseException:
                    pass
        def test_passes(): pass
        """
    )
    ours = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["tool"]["pytest"]
    assert float(ours["faulthandler_timeout"]) > float(ours["timeout"])
    limits = ("-o", "timeout=0.2", "-o", "faulthandler_timeout=1", "-o", "faulthandler_exit_on_timeout=true")
    assert ours["faulthandler_exit_on_timeout"] is True
    result = pytester.runpytest_subprocess("-p", "xdist", "-p", "pytest_timeout", "-n", "1", *limits)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*crashed while running*test_hangs*"])
