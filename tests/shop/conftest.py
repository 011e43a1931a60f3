from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))  # the shop is run from there, as `python -m shop`

from .stock import Stocked  # noqa: E402 - needs the path above
from .visitor import Visitor, visiting  # noqa: E402 - the same


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    """Fills a folder with what a shop's first start writes: five thousand products take most of its time."""
    return Stocked(tmp_path_factory.mktemp("stocked")).copy_to


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
def opening(data_dir: Path, stocked: Callable[[Path], None]) -> Callable[[], AbstractAsyncContextManager[Visitor]]:
    """Opens the shop on free ports; may be opened again on the same data."""
    stocked(data_dir)
    return lambda: visiting(data_dir)


@pytest.fixture
async def visitor(opening: Callable[[], AbstractAsyncContextManager[Visitor]]) -> AsyncIterator[Visitor]:
    async with opening() as open_shop:
        yield open_shop
