"""Every test of this room runs on asyncio and on trio, both in virtual time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sdpatterns.core.notices import Notice, listen
from tests.loops import each_virtual_loop

anyio_backend = each_virtual_loop


@pytest.fixture
def heard() -> Iterator[list[Notice]]:
    """What was told while the test ran."""
    notices: list[Notice] = []
    with listen(notices.append):
        yield notices
