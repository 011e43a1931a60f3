"""The control room on one busy core: every scenario ends and says what it measured, and no request to it fails.

Run them with `pytest tests/e2e/test_busy_machine.py -m long -n0 -s -o faulthandler_timeout=0`; most of them take longer
than the watch for stuck tests allows.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from playwright.sync_api import Browser

from shop.stage.scenarios.scenario import load, names
from tests.shop.running import running

ENDS_WITHIN_S = 600.0  # beyond the limit that a scenario has itself
BUSY_MAX = 20
ALONE = [name for name in names() if not load(name).needs_replicas]
"""The scenarios that a shop in one process can play."""


@contextmanager
def on_one_busy_core(data_dir: Path) -> Iterator[str]:
    """A shop that has one core, and another process on it that never rests; gives the shop's URL."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not let a process be held to one core")
    core = min(os.sched_getaffinity(0))
    with running(data_dir) as shop:
        for thread in psutil.Process(shop.process.pid).threads():
            os.sched_setaffinity(thread.id, {core})
        burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            os.sched_setaffinity(burner.pid, {core})
            yield shop.url
        finally:
            burner.kill()
            burner.wait()


@contextmanager
def page_open(browser: Browser, url: str) -> Iterator[list[str]]:
    """The control page, open; gives the requests to /control that failed."""
    failed: list[str] = []
    page = browser.new_page()
    page.set_default_timeout(60_000)
    page.on("response", lambda answer: failed.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
    page.on("requestfailed", lambda asked: failed.append(f"{asked.failure} {asked.url}"))
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.goto(f"{url}/control", timeout=60_000)
    seen = list(failed)
    yield seen
    page.wait_for_timeout(500)
    seen += failed
    page.close()


def played(page_url: str, name: str, pace: float) -> dict[str, Any]:
    with httpx.Client(base_url=page_url, timeout=60) as http:
        http.post(f"/control/api/scenarios/{name}", json={"pace": pace}).raise_for_status()
        until = time.monotonic() + ENDS_WITHIN_S
        while time.monotonic() < until:
            http.get("/control/api/state").raise_for_status()
            found: dict[str, Any] = http.get("/control/api/scenario").raise_for_status().json()["scenario"]
            if found["ended"]:
                return found
            time.sleep(1.0)
    raise AssertionError(f"{name} has not ended: {found}")


def account(seen: dict[str, Any]) -> str:
    """What a scenario measured and said, in full."""
    head = f"{seen['title']}: {'held' if seen['held'] else 'did not hold'}, {seen['elapsed_s']} s"
    rows = [f"  {row['row']}: without {row['without']}, with {row['with']}" for row in seen["table"]]
    return "\n".join([head, *(f"  {text.strip()}" for text in seen["told"]), *rows])


def judge(seen: dict[str, Any]) -> None:
    told = account(seen)
    print(told)  # noqa: T201 - shown by -rP
    assert "One purchase " in told  # how long it takes, or that none succeeds
    assert seen["held"] or is_too_busy(seen), told


def is_too_busy(seen: dict[str, Any]) -> bool:
    """Whether it stopped because of the machine, without a check that did not hold."""
    told = "\n".join(seen["told"])
    return "too busy for this story" in told and "DOES NOT HOLD" not in told


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_scenario_on_one_busy_core_ends_and_no_request_fails(browser: Browser, tmp_path: Path) -> None:
    with on_one_busy_core(tmp_path / "data") as url:
        with page_open(browser, url) as failed:
            judge(played(url, "double-click", 20))
        assert failed == []


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_every_scenario_on_one_busy_core_ends_and_no_request_fails(browser: Browser, tmp_path: Path) -> None:
    with on_one_busy_core(tmp_path / "data") as url:
        with page_open(browser, url) as failed:
            for name in ALONE:
                judge(played(url, name, 1))
        assert failed == []


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_twenty_scenarios_in_a_row_hold(browser: Browser, tmp_path: Path) -> None:
    with running(tmp_path / "data") as shop, page_open(browser, shop.url) as failed:
        held = busy = 0
        while held < 20:
            seen = played(shop.url, ALONE[held % len(ALONE)], 10)
            print(held, account(seen))  # noqa: T201 - shown by -rP
            assert seen["held"] or is_too_busy(seen), f"after {held}: {account(seen)}"
            held, busy = held + seen["held"], busy + (not seen["held"])
            assert busy <= BUSY_MAX, f"this machine is too busy for this test: {held} held, {busy} were not judged"
    assert failed == []
