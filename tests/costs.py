"""What the tests cost, in CPU seconds: by folder, and the dearest ones.

    python3 noxfile.py tests tests -n 2 --dist=worksteal --cov -p tests.costs --costs=tests/costs.md

CPU seconds are those of the test's process and of all processes that it or a fixture started, while the test
ran, setup and teardown included. A server that detached itself, as Valkey does, is left out. Unlike the time
on the wall they hardly change when the machine has other work.
"""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from collections.abc import Generator, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

DEAREST = 50
_BEGAN = pytest.StashKey[float]()


class Cost(NamedTuple):
    """One test: what it took of the processors, and how long it took on the wall."""

    test: str
    cpu_s: float
    wall_s: float


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--costs", metavar="FILE", help="write what each test costs into this file")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--costs") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Ledger(Path(config.getoption("--costs"))))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    item.stash[_BEGAN] = _cpu_s()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "teardown":
        report.user_properties.append(("cpu_s", max(0.0, _cpu_s() - item.stash[_BEGAN])))
    return report


def _cpu_s() -> float:
    """Of this process, of the children it waited for, and of those that run: a module's shop, its browser."""
    running_s = 0.0
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            running_s += sum(child.cpu_times()[:4])
    return sum(os.times()[:4]) + running_s


class Ledger:
    """Adds up the reports, of all workers, and writes the page at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wall_s: dict[str, float] = defaultdict(float)
        self.cpu_s: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.wall_s[report.nodeid] += report.duration
        for name, value in report.user_properties:
            if name == "cpu_s":
                self.cpu_s[report.nodeid] = float(str(value))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        costs = [Cost(test, cpu_s, self.wall_s[test]) for test, cpu_s in self.cpu_s.items()]
        command = " ".join(["pytest", *session.config.invocation_params.args])
        self.path.write_text(page(costs, f"`{command}` on Python {platform.python_version()}"), encoding="utf-8")


def page(costs: Iterable[Cost], about: str) -> str:
    """The costs as two tables, folders and dearest tests, dearest first."""
    costs = sorted(costs, key=lambda cost: -cost.cpu_s)
    whole = _sum("all", costs)
    folders: dict[str, list[Cost]] = defaultdict(list)
    for cost in costs:
        folders[folder_of(cost.test)].append(cost)
    rows = sorted((_sum(name, members) for name, members in folders.items()), key=lambda row: -row.cpu_s)
    lines = ["# What the tests cost", "", about + ".", "", "| folder | tests | CPU s | wall s |", "|---|--:|--:|--:|"]
    lines += [
        f"| {row.test} | {len(folders.get(row.test, costs))} | {row.cpu_s:.1f} | {row.wall_s:.1f} |"
        for row in [*rows, whole]
    ]
    lines += ["", f"The {DEAREST} dearest:", "", "| test | CPU s | wall s |", "|---|--:|--:|"]
    lines += [f"| `{cost.test}` | {cost.cpu_s:.1f} | {cost.wall_s:.1f} |" for cost in costs[:DEAREST]]
    return "\n".join(lines) + "\n"


def folder_of(test: str) -> str:
    """The folder that a test stands in, down to the pattern or backend: `traffic/ratelimit`."""
    return Path(test.partition("::")[0].removeprefix("tests/")).parent.as_posix()


def _sum(name: str, costs: list[Cost]) -> Cost:
    return Cost(name, sum(cost.cpu_s for cost in costs), sum(cost.wall_s for cost in costs))
