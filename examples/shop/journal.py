"""Where the shop writes down what happens: one line of JSON each, in a bounded file beside the data."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path

from sdpatterns import listen
from sdpatterns.observability.logs import JsonFormatter, log_notices
from sdpatterns.observability.opentelemetry import OpenTelemetryListener
from shop.failures import StartFailed

_FILE_MAX_BYTES = 5 * 2**20
_FILES_KEPT = 2


def _opened(path: Path) -> RotatingFileHandler:
    try:
        return RotatingFileHandler(path, maxBytes=_FILE_MAX_BYTES, backupCount=_FILES_KEPT, encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StartFailed(f"cannot write {path}: {reason}; move it away or choose another with --data-dir") from None


@contextmanager
def journal(path: Path) -> Iterator[None]:
    """Log to a file, and errors to the terminal too; what the library tells goes to the log and to OpenTelemetry."""
    root = logging.getLogger()
    file = _opened(path)
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setLevel(logging.ERROR)
    before = root.level
    root.setLevel(logging.INFO)
    for chatty in ("httpx", "uvicorn"):  # a line for each hop would drown the rest
        logging.getLogger(chatty).setLevel(logging.WARNING)
    with ExitStack() as stack:
        for handler in (file, terminal):
            handler.setFormatter(JsonFormatter())
            root.addHandler(handler)
            stack.callback(handler.close)
            stack.callback(root.removeHandler, handler)
        stack.callback(root.setLevel, before)
        stack.enter_context(listen(log_notices()))
        stack.enter_context(listen(OpenTelemetryListener()))
        yield
