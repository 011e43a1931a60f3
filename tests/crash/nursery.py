"""Worker processes that start in milliseconds: one process imports everything once, and each worker is a fork of it.

    python -m tests.crash.nursery

It reads one worker's arguments from each line of its standard input, as JSON, and answers with the process id. All
its workers die with it, and it ends with the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Self

import psutil


class Child:
    """A worker process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._process = psutil.Process(pid)

    def kill(self) -> None:
        """End it in the middle of what it does (SIGKILL)."""
        self._process.kill()
        self._process.wait(60.0)

    def stop(self) -> None:
        """Stop it as a machine that is suspended does (SIGSTOP)."""
        self._process.suspend()

    def resume(self) -> None:
        """Let it go on."""
        self._process.resume()

    @property
    def lives(self) -> bool:
        """Whether it is there."""
        try:
            return self._process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


class Nursery:
    """Starts workers."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.nursery"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.children: list[Child] = []

    def start(self, arguments: Mapping[str, Any]) -> Child:
        """One worker: it runs `tests.crash.patterns.work(**arguments)`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(arguments).encode() + b"\n")
        self._process.stdin.flush()
        child = Child(int(self._process.stdout.readline()))
        self.children.append(child)
        return child

    def clear(self) -> None:
        """Kill all workers that are left."""
        for child in self.children:
            if child.lives:
                child.kill()
        self.children.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()
        self._process.communicate(timeout=60.0)


def reap(*_: object) -> None:
    """Forget the workers that have ended, and count their time as this process's."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def main() -> None:
    """Fork a worker for each line, until there are no more."""
    from tests.crash.patterns import work

    signal.signal(signal.SIGCHLD, reap)
    gc.freeze()  # so that a fork copies fewer pages
    children = []
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(0)
            os.dup2(2, 1)
            asyncio.run(work(**json.loads(line)))
            os._exit(0)
        children.append(pid)
        os.write(1, f"{pid}\n".encode())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for pid in children:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
