"""Servers for a fleet: Postgres and Valkey from wheels, on loopback, their data beside the shop's."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from shop.failures import StartFailed
from shop.postgres import READERS_MAX, WRITERS_MAX
from shop.settings import FleetServers
from shop.sqlite import FIX, SCHEMA_VERSION

_log = logging.getLogger("shop.fleet_servers")
# Each service has its own database, as it has its own file: no service reads the tables of another.
DATABASES = (
    *("catalog", "reviews", "cart", "inventory", "ordering", "ordering-keys", "payments", "payments-leases"),
    *("fulfilment", "psp", "mail", "carrier", "sellers"),
)
WAIT_S = 30.0  # for a Postgres that may still be about to start
_PAUSE_S, _CONNECTS_S = 1.0, 3.0
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


async def make_databases(fleet: FleetServers, wait_s: float = WAIT_S) -> list[str]:
    """Create the databases that are not there yet; gives their names."""
    async with _connected(fleet, wait_s) as connection:
        missing = await _missing(connection)
        for name in missing:
            await connection.execute(f'CREATE DATABASE "{name}"')
        return missing


async def databases_there(fleet: FleetServers, wait_s: float = WAIT_S) -> None:
    """Wait until all databases have been made; StartFailed says which one is missing."""
    async with _connected(fleet, wait_s) as connection:
        until_s = time.monotonic() + wait_s
        while missing := await _missing(connection):
            if time.monotonic() > until_s:
                raise StartFailed(f"Postgres has no database {missing[0]}; `python -m shop schema` makes it")
            await asyncio.sleep(_PAUSE_S)


@asynccontextmanager
async def start_alone(fleet: FleetServers, deployable: str) -> AsyncIterator[None]:
    """Alone among the replicas of a deployable during the block, or until this process ends."""
    async with _connected(fleet) as connection:
        await connection.execute("SELECT pg_advisory_lock(hashtextextended($1, 0))", f"start of {deployable}")
        yield


@asynccontextmanager
async def _connected(fleet: FleetServers, wait_s: float = WAIT_S) -> AsyncIterator[Any]:
    """A connection to Postgres, which may still be about to start; StartFailed says why there is none."""
    import asyncpg

    url = f"{fleet.postgres.replace('+asyncpg', '')}/postgres"
    until_s = time.monotonic() + wait_s
    while True:
        try:
            connection = await asyncpg.connect(url, timeout=_CONNECTS_S)
            break
        except (OSError, asyncpg.PostgresError) as error:  # a time-out is an OSError too
            reason = str(error) or type(error).__name__
        if time.monotonic() > until_s:
            raise StartFailed(f"Postgres at {urlsplit(url).hostname} does not answer: {reason}")
        _log.info("waiting for Postgres", extra={"reason": reason})
        await asyncio.sleep(_PAUSE_S)
    try:
        yield connection
    finally:
        await connection.close()


async def _missing(connection: Any) -> list[str]:
    there = {row[0] for row in await connection.fetch("SELECT datname FROM pg_database")}
    return [name for name in DATABASES if name not in there]


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
