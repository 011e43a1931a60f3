"""Logs as JSON lines that carry the trace and the correlation id, and a listener that writes them.

```
handler = logging.StreamHandler()
handler.setFormatter(JsonFormatter())
logging.basicConfig(handlers=[handler], level=logging.INFO)
stack.enter_context(listen(log_notices()))
```
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any

from sdpatterns.core import context, tracing
from sdpatterns.core.notices import Notice
from sdpatterns.observability.redaction import redacted, redacted_text

__all__ = ["JsonFormatter", "log_notices"]

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats each log record as one line of JSON.

    Fields: `time` (UTC, microseconds), `level`, `logger`, `message`, `trace_id`, `span_id` and
    `correlation_id` where the call has them, whatever was given as `extra`, and `error` with the
    traceback. A value that JSON cannot carry is written as its `repr`; a line break inside a value
    is escaped, so that a value cannot forge a second line. Secrets and card numbers are masked (see
    `sdpatterns.observability.redaction`), in the message, the extras and the traceback, unless
    `redacts=False`.
    """

    def __init__(self, *, redacts: bool = True) -> None:
        super().__init__()
        self._redacts = redacts

    def format(self, record: logging.LogRecord) -> str:
        """The line, without the line break."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        trace = tracing.here()
        if trace is not None:
            line["trace_id"] = trace.trace_id
            line["span_id"] = trace.span_id
        correlation_id = context.correlation_id.get()
        if correlation_id is not None:
            line["correlation_id"] = correlation_id
        line.update((k, v) for k, v in vars(record).items() if k not in _STANDARD and k not in line)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        if not self._redacts:
            return json.dumps(line, default=repr, ensure_ascii=False)
        return json.dumps(redacted(line), default=lambda value: redacted_text(repr(value)), ensure_ascii=False)


def log_notices(
    logger: logging.Logger | None = None,
    *,
    level: int = logging.INFO,
    quiet: Collection[str] = ("request_finished", "passage_finished"),
) -> Callable[[Notice], None]:
    """A listener that logs each notice: its event as the message, its fields as extras.

    `quiet` names events that go out at DEBUG, because they come with every call.
    """
    target = logging.getLogger("sdpatterns.notices") if logger is None else logger

    def listener(notice: Notice) -> None:
        event = notice.event
        chosen = logging.DEBUG if event in quiet else level
        if target.isEnabledFor(chosen):
            fields = {f"notice_{f.name}": getattr(notice, f.name) for f in dataclasses.fields(notice)}
            target.log(chosen, event, extra=fields)

    return listener
