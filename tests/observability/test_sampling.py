"""Which lines are written, by handlers and by structlog."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pytest
import structlog

from sdpatterns.core import context
from sdpatterns.core.context import Trace
from sdpatterns.core.notices import Notice, listen, tell
from sdpatterns.observability.sampling import Sampling
from sdpatterns.observability.structlog import log_notices, processors, without_secrets
from sdpatterns.testing.clock import VirtualClock


@dataclass(frozen=True, kw_only=True, slots=True)
class DoorOpened(Notice):
    """A notice of this test."""

    token: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestFinished(Notice):
    """A notice that comes with every call."""


def in_trace(number: int, sampling: Sampling, event: str = "e") -> bool:
    token = context.trace.set(Trace(f"{number * 2654435761 % 2**56:032x}", "1" * 16))
    try:
        return sampling.keeps(event, logging.INFO)
    finally:
        context.trace.reset(token)


def test_warnings_are_never_dropped():
    sampling = Sampling(rate=0.0, burst_max=1)
    assert not sampling.keeps("e", logging.INFO)
    assert all(sampling.keeps("e", level) for level in (logging.WARNING, logging.ERROR, logging.CRITICAL))
    assert sampling.filter(logging.makeLogRecord({"msg": "e", "levelno": logging.WARNING}))
    assert not sampling.filter(logging.makeLogRecord({"msg": "e", "levelno": logging.INFO}))


def test_a_trace_is_kept_whole_or_not_at_all():
    one, other = Sampling({"e": 0.5}), Sampling(rate=0.5)
    kept = [in_trace(number * 7919**3, one) for number in range(1, 400)]
    assert kept == [in_trace(number * 7919**3, other, "another") for number in range(1, 400)]
    assert 120 < sum(kept) < 280


def test_without_a_trace_chance_decides():
    lots = iter([0.2, 0.3, 0.9])
    sampling = Sampling(rate=0.3, random=lambda: next(lots))
    assert [sampling.keeps("e", logging.INFO) for _ in range(3)] == [True, False, False]


def test_a_burst_is_cut_in_each_second_and_each_event():
    with VirtualClock() as clock:
        sampling = Sampling(burst_max=2)
        assert [sampling.keeps("e", 20) for _ in range(4)] == [True, True, False, False]
        assert sampling.keeps("other", 20)
        clock.advance(1.0)
        assert sampling.keeps("e", 20)
        for number in range(2_000):
            sampling.keeps(f"{number}", 20)
        assert len(sampling._counts) <= 1_001


@pytest.mark.parametrize("settings", [{"rate": 1.5}, {"rates": {"e": -1}}, {"burst_max": 0}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValueError, match="must be"):
        Sampling(**settings)


def test_structlog_carries_the_position_and_no_secret():
    written: list = []

    def keep(_logger, _method, event):
        written.append(event)
        raise structlog.DropEvent

    logger = structlog.wrap_logger(structlog.PrintLogger(), [*processors(Sampling({"often": 0.0})), keep])
    trace, correlation = context.trace.set(Trace("a" * 32, "b" * 16)), context.correlation_id.set("c-9")
    logger.info("often")
    logger.warning("often", card="4111111111111111")
    with listen(log_notices(logger)):
        tell(DoorOpened(name="front", token="t"))
    context.trace.reset(trace)
    context.correlation_id.reset(correlation)
    position = {"trace_id": "a" * 32, "span_id": "b" * 16, "correlation_id": "c-9"}
    assert written == [
        {"event": "often", "card": "************1111", **position},
        {"event": "door_opened", "notice_name": "front", "notice_token": "***", **position},
    ]


def test_an_object_that_shows_a_card_number_is_told_without_it():
    event = without_secrets(None, "info", {"error": ValueError("card 4111 1111 1111 1111"), "at": (1, 2), "who": "ann"})
    assert "4111 1111" not in repr(event)
    assert "1111" in event["error"]
    assert (event["at"], event["who"]) == ((1, 2), "ann")
