"""A load on the shop, from nothing: starts a shop of its own, runs Locust on it, ends it.

    python -m deploy.load --load spike --size 0.2

All words go on to Locust. With `--host URL` the load goes to that shop, and none is started.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READY_MAX_S = 180.0  # several replicas of each service share the cores while they start
ENDS_MAX_S = 30.0


@contextmanager
def own_shop(*more: str) -> Iterator[str]:
    """The URL of a shop that runs during the block, on data that is gone afterwards; `more` words go to it."""
    around = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT / 'examples'}"}
    with tempfile.TemporaryDirectory(prefix="shop-load-") as data:
        words = [sys.executable, "-m", "shop", "up", "--port", "0", "--visitors", "0", "--data-dir", data, *more]
        shop = subprocess.Popen(words, env=around, stdout=subprocess.DEVNULL)
        try:
            yield _url(Path(data) / "address.json", shop)
        finally:
            shop.send_signal(signal.SIGINT)
            try:
                shop.wait(ENDS_MAX_S)
            except subprocess.TimeoutExpired:
                shop.kill()
                shop.wait()


def _url(place: Path, shop: subprocess.Popen[bytes]) -> str:
    """Where the shop answers; it writes that down once it is open."""
    ends_s = time.monotonic() + READY_MAX_S
    while not place.exists():
        if shop.poll() is not None or time.monotonic() > ends_s:
            raise SystemExit(f"the shop did not open within {READY_MAX_S:g} s")
        time.sleep(0.1)
    url: str = json.loads(place.read_text(encoding="utf-8"))["url"]
    return url


def locust(words: list[str]) -> int:
    """Run Locust without its page; its exit code says whether the criteria hold."""
    file = str(Path(__file__).parent / "locustfile.py")
    command = [sys.executable, "-m", "locust", "-f", file, "--headless", "--only-summary", *words]
    return subprocess.run(command, check=False, cwd=ROOT).returncode


def main() -> int:
    """Run a load; gives the exit code."""
    words = sys.argv[1:]
    if any(word.partition("=")[0] in {"--host", "-H"} for word in words):
        return locust(words)
    with own_shop() as url:
        return locust(["--host", url, *words])


if __name__ == "__main__":
    raise SystemExit(main())
