"""JSON log lines."""

import io
import json
import logging
from dataclasses import dataclass

import pytest

from sdpatterns.core import context
from sdpatterns.core.notices import Notice, listen, tell
from sdpatterns.observability.logs import JsonFormatter, log_notices


@dataclass(frozen=True, kw_only=True, slots=True)
class DoorOpened(Notice):
    """A notice of this test."""

    by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestFinished(Notice):
    """A notice that comes with every call."""


@pytest.fixture
def written():
    logger = logging.getLogger("test-json")
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield logger, lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    logger.removeHandler(handler)


def test_a_line_is_json_with_its_extras(written):
    logger, lines = written
    logger.info("paid %d", 3, extra={"order": "o-1", "odd": {1}})

    (line,) = lines()
    assert line["message"] == "paid 3"
    assert line["level"] == "info"
    assert line["order"] == "o-1"
    assert line["odd"] == "{1}"
    assert line["time"].endswith("+00:00")
    assert "trace_id" not in line
    assert "correlation_id" not in line


def test_a_line_carries_trace_and_correlation(written):
    logger, lines = written
    trace = context.trace.set(context.Trace("a" * 32, "b" * 16))
    correlation = context.correlation_id.set("c-9")
    logger.info("hello")
    context.trace.reset(trace)
    context.correlation_id.reset(correlation)

    (line,) = lines()
    assert (line["trace_id"], line["span_id"]) == ("a" * 32, "b" * 16)
    assert line["correlation_id"] == "c-9"


def test_a_line_break_in_a_value_forges_no_second_line(written):
    logger, lines = written
    logger.info('x\n{"level": "error"}')

    assert len(lines()) == 1


def test_an_exception_is_written_with_its_traceback(written):
    logger, lines = written
    try:
        int("boom")
    except ValueError:
        logger.exception("failed")

    assert "ValueError: invalid literal" in lines()[0]["error"]


def test_notices_become_lines(written):
    logger, lines = written
    with listen(log_notices(logger)):
        tell(DoorOpened(name="front", by="ann"))
        tell(RequestFinished(name="web"))

    (line,) = lines()
    assert line["message"] == "door_opened"
    assert (line["notice_name"], line["notice_by"]) == ("front", "ann")
