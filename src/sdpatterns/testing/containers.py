"""Servers in containers, through `testcontainers`, where a Docker engine answers."""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

__all__ = ["docker_answers", "postgres_container", "valkey_container"]

_DOCKER_SOCKET = Path("/var/run/docker.sock")


def docker_answers(path: Path = _DOCKER_SOCKET, timeout_s: float = 1.0) -> bool:
    """Whether a Docker engine listens on that socket and says so within the time."""
    if not path.is_socket():
        return False
    connection = http.client.HTTPConnection("localhost")
    with contextlib.closing(connection), socket.socket(socket.AF_UNIX) as line:
        line.settimeout(timeout_s)
        try:
            line.connect(str(path))
            connection.sock = line
            connection.request("GET", "/_ping")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


@contextlib.contextmanager
def valkey_container() -> Iterator[str]:  # pragma: no cover - needs a Docker engine
    """Valkey in a container of its own, as `redis://…`."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.waiting_utils import wait_for_logs

    with DockerContainer("valkey/valkey:9").with_exposed_ports(6379) as box:
        wait_for_logs(box, "Ready to accept connections", timeout=30)
        yield f"redis://{box.get_container_host_ip()}:{box.get_exposed_port(6379)}"


@contextlib.contextmanager
def postgres_container() -> Iterator[str]:  # pragma: no cover - needs a Docker engine
    """Postgres in a container of its own, as `postgresql://…`."""
    from testcontainers.postgres import PostgresContainer

    with PostgresContainer("postgres:18", driver=None) as box:
        yield box.get_connection_url()
