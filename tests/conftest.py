"""What every test may ask for: real servers, and seeds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sdpatterns.testing import servers

pytest_plugins = ["sdpatterns.testing.plugin"]

_SEEDS_BY_DEFAULT = 200


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sdpatterns")
    group.addoption(
        "--seeds",
        type=int,
        default=_SEEDS_BY_DEFAULT,
        help="how many seeds a simulation runs (default: %(default)s)",
    )
    group.addoption("--seed", type=int, default=None, help="replay this one seed")


@pytest.fixture(scope="session")
def seeds(request: pytest.FixtureRequest) -> range:
    """The seeds a simulation shall run: `--seeds N`, or the one of `--seed S`."""
    one: int | None = request.config.getoption("--seed")
    return range(request.config.getoption("--seeds")) if one is None else range(one, one + 1)


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
