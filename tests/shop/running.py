"""The shop as processes of its own: started, asked, stopped, as a user at a terminal would."""

from __future__ import annotations

import asyncio
import json
import signal
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

from shop.__main__ import main

from .conftest import EXAMPLES
from .visitor import checkout_body

PATIENCE_S = 200.0
"""For how long a customer presses again; every part of the shop is back long before."""


def command(data_dir: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "shop", "up", "--visitors", "0", "--data-dir", str(data_dir), *more]


class Running:
    def __init__(self, process: subprocess.Popen[str], url: str, ready_s: float, data_dir: Path) -> None:
        self.process = process
        self.url = url
        self.ready_s = ready_s
        self.data_dir = data_dir

    def stop(self, number: signal.Signals = signal.SIGINT) -> tuple[str, str]:
        self.process.send_signal(number)
        return self.process.communicate(timeout=120)

    def replicas(self) -> list[dict[str, Any]]:
        """The shop's processes as its control file lists them."""
        listed: list[dict[str, Any]] = json.loads((self.data_dir / "processes.json").read_text())["replicas"]
        return listed

    def family(self) -> list[psutil.Process]:
        """The supervisor and all that it has started."""
        supervisor = psutil.Process(self.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]


def _unanswered(data_dir: Path) -> list[str]:
    """The last calls between services that got no answer, and why: for the reader of a failed test."""
    lines = [line for log in data_dir.rglob("*.log") for line in log.read_text(errors="replace").splitlines()]
    return [line for line in lines if '"no answer"' in line][-20:]


@contextmanager
def running(data_dir: Path, *more: str) -> Iterator[Running]:
    began = time.monotonic()
    process = subprocess.Popen(
        command(data_dir, "--port", "0", *more),
        cwd=EXAMPLES,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().rpartition(" ")[2].strip().rstrip("/")
        assert url.startswith("http://127.0.0.1:"), process.communicate()
        assert httpx.get(f"{url}/readyz").status_code == 200
        yield Running(process, url, time.monotonic() - began, data_dir)
    except Exception as error:
        for line in _unanswered(data_dir):
            error.add_note(line)
        raise
    finally:
        process.kill()
        process.communicate()


def refused(data_dir: Path, *more: str) -> str:
    """Start a shop that must not start; gives its only line."""
    ended = subprocess.run(
        command(data_dir, *more), cwd=EXAMPLES, capture_output=True, text=True, timeout=120, check=False
    )
    return _only_line(ended.returncode, ended.stdout, ended.stderr)


def refused_here(capsys: pytest.CaptureFixture[str], data_dir: Path, *more: str) -> str:
    """The same in this process, which takes a fraction of the time."""
    code = main(["up", "--visitors", "0", "--data-dir", str(data_dir), *more])
    said = capsys.readouterr()
    return _only_line(code, said.out, said.err)


def _only_line(code: int, out: str, err: str) -> str:
    assert (code, out) == (1, ""), err
    (line,) = err.splitlines()
    assert line.startswith("shop: ")
    return line


def fill_cart(url: str, cart_id: str, sku: str) -> None:
    assert httpx.put(f"{url}/api/v1/carts/{cart_id}/items/{sku}", json={"quantity": 1}).status_code == 200


def gone(processes: list[psutil.Process], within_s: float) -> list[psutil.Process]:
    """Those that are still there after a while."""
    _, alive = psutil.wait_procs(processes, timeout=within_s)
    return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


class Buyer:
    """A customer who presses again, with the same key, until the order is placed; and notes every answer."""

    def __init__(self, http: httpx.AsyncClient, name: str, sku: str) -> None:
        self.http = http
        self.name = name
        self.sku = sku
        self.answers: list[int] = []
        self.order_id = ""

    async def buy(self) -> None:
        await self._until(200, "PUT", f"/api/v1/carts/{self.name}/items/{self.sku}", json={"quantity": 1})
        key = {"Idempotency-Key": f'"{self.name}"'}
        placed = await self._until(201, "POST", "/api/v1/checkout", json=checkout_body(self.name), headers=key)
        self.order_id = placed.json()["order_id"]

    async def _until(self, status: int, method: str, path: str, **content: Any) -> httpx.Response:
        last, until = "", time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            try:
                answer = await self.http.request(method, path, **content)
            except httpx.TransportError as error:  # the gateway itself was killed
                self.answers.append(0)
                last = repr(error)
            else:
                self.answers.append(answer.status_code)
                if answer.status_code == status:
                    return answer
                last = answer.text
                assert answer.headers["content-type"] == "application/problem+json", last
            await asyncio.sleep(0.25)
        raise AssertionError(f"{method} {path} got {self.answers}, and at last {last}")
