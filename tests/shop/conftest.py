from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))  # the shop is run from there, as `python -m shop`

from .visitor import Visitor, visiting  # noqa: E402 - needs the path above


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Visitor]:
    """One shop for a module whose tests leave no traces."""
    async with visiting(tmp_path_factory.mktemp("shop") / "data") as open_shop:
        yield open_shop


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def opening(data_dir: Path) -> Callable[[], AbstractAsyncContextManager[Visitor]]:
    """Opens the shop on free ports; may be opened again on the same data."""
    return lambda: visiting(data_dir)


@pytest.fixture
async def visitor(opening: Callable[[], AbstractAsyncContextManager[Visitor]]) -> AsyncIterator[Visitor]:
    async with opening() as open_shop:
        yield open_shop
