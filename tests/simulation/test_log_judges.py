"""The judge of the world of logs is seen to find bugs that were planted for it."""

from __future__ import annotations

from typing import Any

import pytest

from sdpatterns.backends.memory.log import MemoryLog
from sdpatterns.errors import VersionConflict
from sdpatterns.testing.simulation.log import LogWorld
from tests.simulation.test_judges import complaints


@pytest.mark.unmeasured
def test_an_append_that_is_refused_though_it_has_happened_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(self: MemoryLog, stream: str, expected: int, found: int, events: Any) -> Any:
        raise VersionConflict(self.name, stream, expected, found)

    monkeypatch.setattr(MemoryLog, "_appended_before", forgetful)
    assert complaints(LogWorld(), "was refused, and is there", seeds=40)


@pytest.mark.unmeasured
def test_a_reader_that_skips_an_event_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = MemoryLog.read_all

    async def hasty(self: MemoryLog, after: int = 0, limit: int = 500, /) -> Any:
        page = await usual(self, after, limit)
        return page._replace(position=page.head)

    monkeypatch.setattr(MemoryLog, "read_all", hasty)
    assert complaints(LogWorld(), "paged saw", seeds=10)
