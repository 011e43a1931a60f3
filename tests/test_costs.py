"""The page of costs adds up what each test took, by folder, in a run with workers as in one without."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.costs import Cost, folder_of, page

pytest_plugins = ["pytester"]


def test_the_page_has_folders_and_tests_with_the_dearest_first() -> None:
    costs = [Cost("tests/core/test_a.py::test_x[1|2]", 1.0, 2.0), Cost("tests/web/asgi/test_b.py::test_y", 3.0, 3.5)]
    said = page(costs, "about")
    assert said.index("| web/asgi | 1 | 3.0 | 3.5 |") < said.index("| core | 1 | 1.0 | 2.0 |")
    assert "| all | 2 | 4.0 | 5.5 |" in said
    assert said.index("test_y") < said.index("test_x")


def test_a_test_at_the_top_stands_in_the_folder_of_all() -> None:
    assert folder_of("tests/test_blocking.py::test_x") == "."
    assert folder_of("tests/traffic/ratelimit/test_script.py::test_x") == "traffic/ratelimit"


@pytest.mark.nightly
@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_processors_time_of_each_test_is_counted(
    pytester: pytest.Pytester, only_named_plugins: None, workers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(
        """
        import time
        def test_sleeps(): time.sleep(0.4)
        def test_works():
            end = time.process_time() + 0.4
            while time.process_time() < end: pass
        """
    )
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
    result = pytester.runpytest_subprocess("-p", "xdist", "-p", "tests.costs", "--costs=costs.md", "-n", workers)
    result.assert_outcomes(passed=2)
    lines = [line for line in (pytester.path / "costs.md").read_text().splitlines() if "::test_" in line]
    assert ["test_works" in line for line in lines] == [True, False]
    assert float(lines[0].split("|")[2]) >= 0.4
    assert float(lines[1].split("|")[2]) < 0.4


@pytest.mark.nightly
def test_a_server_that_a_fixture_started_counts_for_the_tests_that_ran_meanwhile(
    pytester: pytest.Pytester, only_named_plugins: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makepyfile(
        """
        import subprocess, sys, time
        import psutil, pytest

        @pytest.fixture(scope="module")
        def server():
            process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            yield process
            process.kill()
            process.wait()

        def test_works(server):
            while sum(psutil.Process(server.pid).cpu_times()[:2]) < 1.0: time.sleep(0.01)

        def test_ends(): pass
        """
    )
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
    pytester.runpytest_subprocess("-p", "tests.costs", "--costs=costs.md").assert_outcomes(passed=2)
    lines = [line for line in (pytester.path / "costs.md").read_text().splitlines() if "::test_" in line]
    assert "test_works" in lines[0]
    assert float(lines[0].split("|")[2]) >= 1.0
