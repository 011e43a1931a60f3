"""The same work in many threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def in_threads(work: Callable[[], T], count: int = 8) -> list[T]:
    """What each gave; they begin together, and the first error of theirs is raised."""
    line = threading.Barrier(count)

    def run() -> T:
        line.wait(60.0)
        return work()

    with ThreadPoolExecutor(count) as pool:
        return [running.result() for running in [pool.submit(run) for _ in range(count)]]
