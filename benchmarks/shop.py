"""The shop beside servers that do nothing but pass a request on: both sides take turns in one run.

python benchmarks/shop.py [rounds] [--before CHECKOUT]

The bare pair is what the shop's product API does at the least: a gateway and a service on uvicorn and
Starlette, in one process, with the shop's client between them, which answer with the shop's first page
of products from memory. It has no database, no limits, no traces and no figures. The shop runs without its
simulated visitors, because what they ask for is not what the measured request costs; what the control
room asks its services every few seconds is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from harness import Rounds, interleaved, report

HERE = Path(__file__).parent
ROOT = HERE.parent
CONNECTIONS = 8
PRODUCTS, LIVE, HOME = "/api/v1/products", "/livez", "/"
REQUESTS = {PRODUCTS: 400, LIVE: 2_000, HOME: 60}  # enough for a clock of processes that counts in 10 ms


@contextmanager
def started(*words: str, checkout: Path = ROOT) -> Iterator[tuple[str, psutil.Process]]:
    """A server as a process of its own, at the URL that ends its first line."""
    paths = [str(checkout / "src"), str(checkout / "examples")]
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=checkout / "examples",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1].rstrip("/"), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.communicate()


async def _asked(url: str, path: str, number: int, turns: Iterator[None]) -> None:
    """Ask one question after another on a connection of its own.

    Each has an address of its own as well: the shop limits what one client may ask.
    """
    place = urlsplit(url)
    local = (f"127.0.0.{number + 2}", 0)
    reader, writer = await asyncio.open_connection(place.hostname, place.port, local_addr=local)
    request = f"GET {path} HTTP/1.1\r\nHost: {place.netloc}\r\nAccept: */*\r\n\r\n".encode()
    for _ in turns:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
    writer.close()
    await writer.wait_closed()


async def _load(url: str, path: str, requests: int, connections: int) -> float:
    loop = asyncio.get_running_loop()
    turns = iter([None] * requests)
    began_s = loop.time()
    await asyncio.gather(*(_asked(url, path, number, turns) for number in range(connections)))
    return (loop.time() - began_s) / requests


class Side:
    """A path of a server, and what it costs: the time of a request, and of it what the server computed."""

    def __init__(self, server: tuple[str, psutil.Process], path: str, *, at_once: int = CONNECTIONS) -> None:
        self._url, self._process = server
        self._path = path
        self._at_once = at_once
        self._requests = REQUESTS[path]
        self.cpu_s: list[float] = []

    def __call__(self) -> float:
        """Seconds per request."""
        before_s = self._cpu_s()
        each_s = asyncio.run(_load(self._url, self._path, self._requests, self._at_once))
        self.cpu_s.append((self._cpu_s() - before_s) / self._requests)
        return each_s

    def _cpu_s(self) -> float:
        used = self._process.cpu_times()
        return used.user + used.system


def measured(title: str, sides: dict[str, Side], rounds: int, against: str) -> None:
    """Take turns, and keep both times."""
    interleaved(sides, 1)  # caches fill
    for side in sides.values():
        side.cpu_s.clear()
    found = interleaved(sides, rounds)
    computed: Rounds = {name: side.cpu_s for name, side in sides.items()}
    versions = ["starlette", "uvicorn", "httptools", "httpx2", "sqlalchemy", "opentelemetry-sdk"]
    report(title, found, against, versions, connections=CONNECTIONS)
    report(f"{title}_cpu", computed, against, versions, connections=CONNECTIONS)


def main(rounds: int, before: Path | None) -> None:
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def shop(name: str, checkout: Path) -> tuple[str, psutil.Process]:
            words = ("-m", "shop", "up", "--port", "0", "--data-dir", str(data / name), "--visitors", "0")
            return stack.enter_context(started(*words, checkout=checkout))

        pair = stack.enter_context(started("-P", str(HERE / "bare_pair.py")))
        servers = {"shop": shop("now", ROOT)}
        if before is not None:
            servers["shop before"] = shop("before", before)
        sides = {"bare pair": Side(pair, PRODUCTS)}
        sides |= {f"{name}, products": Side(server, PRODUCTS) for name, server in servers.items()}
        sides |= {f"{name}, home page": Side(server, HOME, at_once=1) for name, server in servers.items()}
        measured("shop_products", sides, rounds, "bare pair")
        sides = {"bare app": Side(pair, LIVE)}
        sides |= {f"{name}": Side(server, LIVE) for name, server in servers.items()}
        measured("shop_live", sides, rounds, "bare app")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=15)
    parser.add_argument("--before", type=Path, help="a checkout whose shop is to be measured as well")
    asked = parser.parse_args()
    main(asked.rounds, asked.before)
