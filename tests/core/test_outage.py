"""An outage is one warning, however many calls go on without the store."""

from __future__ import annotations

import pytest

from sdpatterns.core.outage import Outage


def test_each_outage_is_logged_when_it_is_first_met(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage("Guard 'api'", "allow")
    for _ in range(2):
        for number in range(3):
            outage.met(OSError(f"away {number}"))
        assert outage.is_on
        outage.is_on = False
    assert [(record.name, record.levelname, record.getMessage()) for record in caplog.records] == [
        ("sdpatterns", "WARNING", "Guard 'api': its store is away, on_outage='allow': away 0")
    ] * 2
