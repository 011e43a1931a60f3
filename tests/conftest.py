"""What every test may ask for: real servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sdpatterns.testing import servers

pytest_plugins = ["sdpatterns.testing.plugin"]


@pytest.fixture
def anyio_backend() -> str:
    """Plain asyncio; what runs elsewhere as well says so with a parameter of its own."""
    return "asyncio"


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """A Valkey for this worker. Keys of other tests are in it: use your own."""
    with servers.valkey_server() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A Postgres database for this worker, `postgresql://…` without a driver."""
    with servers.postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def valkey_cluster() -> Iterator[str]:
    """The first node of a three-node Valkey Cluster for this worker."""
    with servers.valkey_cluster() as url:
        yield url
