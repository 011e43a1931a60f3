"""structlog: notices as events, and processors for trace, correlation id, redaction and sampling.

```
structlog.configure(processors=[structlog.processors.add_log_level, *processors(), structlog.processors.JSONRenderer()])
stack.enter_context(listen(log_notices()))
```
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Collection, MutableMapping
from typing import Any

from sdpatterns.core import context, tracing
from sdpatterns.core.notices import Notice
from sdpatterns.observability.redaction import redacted, redacted_text
from sdpatterns.observability.sampling import Sampling

try:
    import structlog
except ImportError as missing:
    raise ImportError('pip install "sdpatterns[structlog]"') from missing

__all__ = ["log_notices", "processors", "with_position", "without_secrets"]

_Event = MutableMapping[str, Any]
_PLAIN = (str, int, float, bytes, type(None))  # the other values are shown by what they say of themselves
_LEVELS = {
    "debug": 10,
    "info": 20,
    "warning": 30,
    "warn": 30,
    "error": 40,
    "exception": 40,
    "critical": 50,
    "fatal": 50,
}


def processors(sampling: Sampling | None = None) -> list[Callable[[Any, str, _Event], _Event]]:
    """What belongs before the renderer: drop what is not sampled, add the position, redact.

    Place what formats `exc_info` before them: a traceback that is not a text yet cannot be redacted.
    """
    chain: list[Callable[[Any, str, _Event], _Event]] = [with_position, without_secrets]
    return chain if sampling is None else [_sampled(sampling), *chain]


def with_position(_logger: Any, _method: str, event: _Event) -> _Event:
    """Add `trace_id`, `span_id` and `correlation_id` where the call has them."""
    here, correlation_id = tracing.here(), context.correlation_id.get()
    if here is not None:
        event.setdefault("trace_id", here.trace_id)
        event.setdefault("span_id", here.span_id)
    if correlation_id is not None:
        event.setdefault("correlation_id", correlation_id)
    return event


def without_secrets(_logger: Any, _method: str, event: _Event) -> _Event:
    """Take out secrets and card numbers; an object that shows one is replaced by its text without it."""
    found: _Event = redacted(event)
    for key, value in found.items():
        if key != "exc_info" and not isinstance(value, _PLAIN):
            found[key] = _told(value)
    return found


def _told(value: Any) -> Any:
    shown = repr(value)
    clean = redacted_text(shown)
    return value if clean == shown else clean


def _sampled(sampling: Sampling) -> Callable[[Any, str, _Event], _Event]:
    def keep_or_drop(_logger: Any, method: str, event: _Event) -> _Event:
        if sampling.keeps(str(event.get("event", "")), _LEVELS.get(method, logging.INFO)):
            return event
        raise structlog.DropEvent

    return keep_or_drop


def log_notices(
    logger: Any = None, *, quiet: Collection[str] = ("request_finished", "passage_finished")
) -> Callable[[Notice], None]:
    """A listener that logs each notice as an event with its fields; those in `quiet` at debug."""
    target = structlog.get_logger("sdpatterns.notices") if logger is None else logger

    def listener(notice: Notice) -> None:
        event = notice.event
        fields = {f"notice_{field.name}": getattr(notice, field.name) for field in dataclasses.fields(notice)}
        (target.debug if event in quiet else target.info)(event, **fields)

    return listener
