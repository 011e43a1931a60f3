"""etcd, from the system's package: no wheel brings a current one."""

from __future__ import annotations

import contextlib
import http.client
import shutil
from collections.abc import Iterator

from sdpatterns.testing.processes import ServerNotStarted, ServerProcess, free_port, owned_directory, running

__all__ = ["etcd_process"]


@contextlib.contextmanager
def etcd_process() -> Iterator[ServerProcess]:
    """A running etcd of one member, for tests that kill, freeze or restart it.

    It has each write on disk before it answers. Its URL is `etcd://127.0.0.1:{process.port}`.
    """
    binary = shutil.which("etcd")
    if binary is None:
        raise ServerNotStarted("etcd is not installed: apt-get install etcd-server, or name one in the environment")
    with owned_directory("sdpatterns-etcd-") as directory:
        peer = f"http://127.0.0.1:{free_port()}"
        words = [binary, "--name", "test", "--data-dir", str(directory / "data"), "--log-level", "error"]
        words += ["--initial-cluster", f"test={peer}", "--initial-advertise-peer-urls", peer]
        words += ["--listen-peer-urls", peer, "--auto-compaction-retention", "1m", "--max-request-bytes", "2000000"]

        def command(port: int) -> list[str]:
            client = f"http://127.0.0.1:{port}"
            return [*words, "--listen-client-urls", client, "--advertise-client-urls", client]

        process = ServerProcess(name="etcd", directory=directory, command=command, ready=_etcd_is_ready)
        with running(process):
            yield process


def _etcd_is_ready(process: ServerProcess) -> bool:
    asking = http.client.HTTPConnection("127.0.0.1", process.port, timeout=2)
    with contextlib.closing(asking):
        try:
            # It is healthy once it has a leader and its data.
            asking.request("GET", "/health")
            return b'"true"' in asking.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
