from __future__ import annotations

import functools
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trustme

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))  # the shop is run from there, as `python -m shop`

from .stock import Stocked  # noqa: E402 - needs the path above
from .visitor import Visitor, visiting  # noqa: E402 - the same


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def one_certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The only authority that HTTP clients read, in the shop's processes too: nothing here speaks TLS.

    Reading all authorities of the machine takes longer than the rest of making a client.
    """
    path = tmp_path_factory.mktemp("authority") / "one.pem"
    trustme.CA().cert_pem.write_to_path(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(path))
        yield


@pytest.fixture(scope="session")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    """Fills a folder with what a shop's first start writes: five thousand products take most of its time."""
    return _stocked(tmp_path_factory.getbasetemp() / "stocked").copy_to


@functools.cache
def _stocked(folder: Path) -> Stocked:
    folder.mkdir()
    return Stocked(folder)


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory, stocked: Callable[[Path], None]) -> AsyncIterator[Visitor]:
    """One shop for a module whose tests leave no traces."""
    data_dir = tmp_path_factory.mktemp("shop") / "data"
    stocked(data_dir)
    async with visiting(data_dir) as open_shop:
        yield open_shop


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def stocked_dir(data_dir: Path, stocked: Callable[[Path], None]) -> Path:
    """The data of a shop that was opened and closed, for tests that are not about its first start."""
    stocked(data_dir)
    return data_dir


@pytest.fixture
def opening(stocked_dir: Path) -> Callable[[], AbstractAsyncContextManager[Visitor]]:
    """Opens the shop on free ports; may be opened again on the same data."""
    return lambda: visiting(stocked_dir)


@pytest.fixture
async def visitor(opening: Callable[[], AbstractAsyncContextManager[Visitor]]) -> AsyncIterator[Visitor]:
    async with opening() as open_shop:
        yield open_shop
