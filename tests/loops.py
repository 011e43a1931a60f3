"""Loops whose time is virtual: nothing that runs on them waits for real."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sdpatterns.testing.loop import VirtualLoop
from sdpatterns.testing.trio import trio_clock

_ASYNCIO = ("asyncio", {"loop_factory": VirtualLoop})

on_virtual_asyncio = pytest.mark.parametrize("anyio_backend", [_ASYNCIO], ids=["asyncio"])


@pytest.fixture
def virtual_asyncio() -> tuple[str, dict[str, Any]]:
    """For a whole module: `anyio_backend = virtual_asyncio`."""
    return _ASYNCIO


@pytest.fixture(params=["asyncio", "trio"])
def each_virtual_loop(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[str, Any]]]:
    """For a whole module or folder, on both loops: `anyio_backend = each_virtual_loop`."""
    if request.param == "asyncio":
        yield _ASYNCIO
        return
    with trio_clock() as clock:
        yield "trio", {"clock": clock}
