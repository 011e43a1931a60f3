"""The log of this process, as a program without a loop uses it."""

from __future__ import annotations

import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.blocking import blocking
from sdpatterns.ports.log import ANY, NewEvent
from sdpatterns.ports.log_subscription import LogSubscription


def noted(name: str) -> NewEvent:
    return NewEvent(id=name, type="noted", data=b"")


def test_the_blocking_door_reads_without_an_await() -> None:
    backend = MemoryBackend()
    log = blocking(backend.log("orders"))
    log.append("a", 0, [noted("1"), noted("2")])
    with log.subscribe() as events:
        for event in events:
            if event.id == "2":
                break
        assert events.position == event.position == 2
        log.append("b", ANY, [noted("3")])
        page = events.next_page(0.0)
    assert [each.id for each in page.events] == ["3"]
    assert log.read("a", backwards=True).events[0].version == 2


def test_the_same_name_is_the_same_log() -> None:
    backend = MemoryBackend()
    assert backend.log("orders") is backend.log("orders")
    with pytest.raises(ValueError, match="a log"):
        backend.log("")


def test_settings_of_a_subscription_are_checked_when_it_is_built() -> None:
    backend = MemoryBackend()
    for words in ({"after": -1}, {"limit": 0}, {"limit": 10_001}, {"sweep_s": 0.0}):
        with pytest.raises(ValueError, match=next(iter(words))):
            LogSubscription(backend.log("orders"), backend.signals, **words)
