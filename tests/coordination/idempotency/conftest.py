"""Virtual time under both loops: nothing here waits for real."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.testing.loop import VirtualLoop
from sdpatterns.testing.trio import trio_clock


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[str, Any]]]:
    if request.param == "asyncio":
        yield "asyncio", {"loop_factory": VirtualLoop}
    else:
        with trio_clock() as clock:
            yield "trio", {"clock": clock}


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()
