"""Virtual time under both loops: nothing here waits for real."""

from __future__ import annotations

import pytest

from sdpatterns.backends.memory import MemoryBackend
from tests.loops import each_virtual_loop

anyio_backend = each_virtual_loop


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()
