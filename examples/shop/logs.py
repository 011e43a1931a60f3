"""Where the shop writes down what happens: one line of JSON each, in a bounded file beside the data, or on stdout."""

from __future__ import annotations

import hashlib
import logging
import secrets
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path

from sdpatterns import listen
from sdpatterns.observability.logs import log_notices
from sdpatterns.observability.recording import note_on_span
from shop.failures import StartFailed
from shop.stage.log_lines import KEPT, KeepingFormatter
from shop.stage.traces import traced

_FILE_MAX_BYTES = 5 * 2**20
_FILES_KEPT = 2


class _File(RotatingFileHandler):
    """A file that loses what it has no room for; errors go to the terminal as well."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Say nothing: the library would print a traceback for each record."""

    def close(self) -> None:
        """Close, whether or not the last records still fit."""
        with suppress(OSError):
            super().close()


class _Pseudonyms(logging.Filter):
    """Writes a short digest in place of a notice's key: an address, or what a client chose, perhaps a secret.

    One key has one digest while the process runs, and the key cannot be computed from it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._salt = secrets.token_bytes(16)

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, with its key replaced."""
        key = getattr(record, "notice_key", None)
        if key:
            digest = hashlib.blake2b(repr(key).encode("utf-8", "backslashreplace"), key=self._salt, digest_size=6)
            record.notice_key = digest.hexdigest()
        return True


def _opened(path: Path) -> RotatingFileHandler:
    try:
        return _File(path, maxBytes=_FILE_MAX_BYTES, backupCount=_FILES_KEPT, encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StartFailed(f"cannot write {path}: {reason}; move it away or choose another with --data-dir") from None


def log_to(path: Path) -> AbstractContextManager[None]:
    """Log to a file, and errors to the terminal too."""
    file = _opened(path)
    terminal = logging.StreamHandler(sys.stderr)
    terminal.setLevel(logging.ERROR)
    return _logging(file, terminal)


def log_to_stdout() -> AbstractContextManager[None]:
    """Log to the standard output alone: who runs a pod collects that."""
    return _logging(logging.StreamHandler(sys.stdout))


@contextmanager
def _logging(*handlers: logging.Handler) -> Iterator[None]:
    """Log to these handlers; what the library tells goes to them and into the traces."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.INFO)
    for chatty in ("httpx2", "uvicorn"):  # a line for each hop would drown the rest
        logging.getLogger(chatty).setLevel(logging.WARNING)
    told, pseudonyms = logging.getLogger("sdpatterns.notices"), _Pseudonyms()
    told.addFilter(pseudonyms)  # at the source: each record passes once, before any handler writes it
    with ExitStack() as stack:
        stack.callback(told.removeFilter, pseudonyms)
        stack.callback(KEPT.clear)
        for handler in handlers:
            handler.setFormatter(KeepingFormatter())
            root.addHandler(handler)
            stack.callback(handler.close)
            stack.callback(root.removeHandler, handler)
        stack.callback(root.setLevel, before)
        stack.enter_context(traced())
        stack.enter_context(listen(log_notices(quiet=("request_finished", "call_finished"))))
        stack.enter_context(listen(note_on_span))
        yield
