"""Programs of this folder in processes of their own, which say words that a test counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


class Speaker:
    """A process, and a count of the lines that it has said."""

    def __init__(self, program: str, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"tests.crash.{program}", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.said: Counter[str] = Counter()
        self.lines = 0
        self._ear = threading.Thread(target=self._hear, daemon=True)
        self._ear.start()

    def _hear(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said[line.decode().strip()] += 1
            self.lines += 1

    def close(self) -> None:
        """End it, whatever it does (SIGKILL), and hear all that it said."""
        self.process.kill()
        self.process.wait()
        self._ear.join(60.0)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def end(self) -> None:
        """Let it finish what it does, and hear all that it said."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(60.0) == 0
        self._ear.join(60.0)


def say(word: str) -> None:
    """Tell the parent."""
    os.write(1, f"{word}\n".encode())


def report(line: str) -> None:
    """For long runs, whose figures are read."""
    os.write(2, f"{line}\n".encode())


def noted(name: str, command: str, what: str, kind: str, figures: dict[str, Any]) -> None:
    """Keep the figures of a long run."""
    place = RESULTS / f"{name}.json"
    found = json.loads(place.read_text()) if place.exists() else {}
    found["command"] = command
    found.setdefault(what, {})[kind] = figures
    place.write_text(json.dumps(found, indent=1) + "\n")
