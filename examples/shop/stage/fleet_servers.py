"""Servers for a fleet: Postgres and Valkey from wheels, on loopback, their data beside the shop's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shop.failures import StartFailed
from shop.postgres import READERS_MAX, WRITERS_MAX
from shop.settings import FleetServers
from shop.sqlite import FIX, SCHEMA_VERSION

# Each service has its own database, as it has its own file: no service reads the tables of another.
DATABASES = (
    *("catalog", "reviews", "cart", "inventory", "ordering", "ordering-keys", "payments", "payments-leases"),
    *("fulfilment", "psp", "mail", "carrier", "sellers"),
)
_BESIDE = 2  # ordering and fulfilment: the library's own connections beside theirs


def connections_needed(replicas: int) -> int:
    """How many connections all replicas of all contexts may open, and some for people who look."""
    return 20 + (WRITERS_MAX + READERS_MAX) * (len(DATABASES) + _BESIDE) * replicas


@contextmanager
def fleet_servers(data_dir: Path, *, connections_max: int) -> Iterator[FleetServers]:
    """Both servers, running during the block, with all that an earlier one wrote.

    Valkey keeps nothing: it counts what clients ask, which is worth no disk.
    """
    try:
        from sdpatterns.testing.servers import ServerNotStarted, postgres_process, valkey_process
    except ImportError as error:
        raise StartFailed(f"--fleet needs the dependency group `fleet`: {error}") from None
    directory = _own(data_dir)
    try:
        with (
            postgres_process(durable=True, directory=directory, connections_max=connections_max) as (_, postgres),
            valkey_process() as valkey,
        ):
            server = postgres.replace("postgresql://", "postgresql+asyncpg://").rpartition("/")[0]
            yield FleetServers(postgres=server, valkey=f"redis://127.0.0.1:{valkey.port}")
    except ServerNotStarted as failure:
        raise StartFailed(" ".join(str(failure).split())) from None


async def make_databases(fleet: FleetServers) -> None:
    """Create the databases that are not there yet."""
    import asyncpg

    server = fleet.postgres.replace("+asyncpg", "")
    connection = await asyncpg.connect(f"{server}/postgres")
    try:
        there = {row[0] for row in await connection.fetch("SELECT datname FROM pg_database")}
        for name in DATABASES:
            if name not in there:
                await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()


def _own(data_dir: Path) -> Path:
    """The directory of Postgres; StartFailed when another version of the shop has written there."""
    directory = data_dir / "postgres"
    directory.mkdir(mode=0o700, exist_ok=True)
    if os.name == "posix" and os.geteuid() == 0:
        data_dir.chmod(0o711)  # Postgres refuses root: it runs as another user, who must get this far
    version = data_dir / "postgres.version"
    if not version.exists():
        version.write_text(f"{SCHEMA_VERSION}\n")
    if version.read_text().strip() != str(SCHEMA_VERSION):
        raise StartFailed(f"cannot use {directory}: its version is unknown to this shop; {FIX}")
    return directory
