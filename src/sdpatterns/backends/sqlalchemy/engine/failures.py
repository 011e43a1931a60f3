"""What went wrong, said in one line that names the database and the fix."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from sqlalchemy import URL
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, ProgrammingError

from sdpatterns.backends.sqlalchemy.engine.transactions import NotWritten
from sdpatterns.errors import BackendFull, BackendUnavailable, OutcomeUnknown, SdpatternsError

__all__ = ["holder_of", "is_bad_value", "is_conflict", "is_server_error", "lost_reply", "masked", "unavailable"]

_CONFLICTS = {
    "40001": "serialization failure",
    "40P01": "deadlock",
    "55P03": "lock not available",
    "23505": "unique violation",
}

# Classes of SQLSTATE: data exception, program limit exceeded.
_BAD_VALUES = {"22", "54"}

# Classes of SQLSTATE: the connection broke, or the server ends it.
_GOING = ("08", "57P")

# What psycopg and asyncpg call an error that no server has seen.
_NOT_SENT = {"DataError", "InterfaceError", "ProgrammingError"}

# SQLSTATE: what a database refuses though it is up, and what mends it.
_REFUSALS = {
    "25006": "the database is read-only (a standby, or default_transaction_read_only): name the primary in the URL",
    "42501": "grant the URL's user SELECT, INSERT, UPDATE and DELETE on the tables whose names begin with sdp_",
    "53200": "the server is out of memory: give it more, or lower its settings",
    "53300": "the server has no connection left: raise max_connections, or lower what others hold",
    "53400": "a limit of the server's configuration is reached: raise it",
    "57P03": "the server starts, stops or recovers: wait until it accepts connections",
    "28000": "correct the user and the password in the URL, or pg_hba.conf there",
    "28P01": "correct the user and the password in the URL",
    "3D000": "make the database, or correct its name in the URL",
}
_DISK_FULL = "53100"
_REFUSAL_WORDS = (
    ("too many clients", _REFUSALS["53300"]),
    ("remaining connection slots", _REFUSALS["53300"]),
    ("too many connections", _REFUSALS["53300"]),
    ("starting up", _REFUSALS["57P03"]),
    ("not yet accepting connections", _REFUSALS["57P03"]),
    ("recovery", _REFUSALS["57P03"]),
    ("password", _REFUSALS["28P01"]),
    ('FATAL: database "', _REFUSALS["3D000"]),
    ("readonly database", "let this account write the file and its directory"),
)

_FIXES = (
    ("no such table", "call `await backend.create()` once, or run your migrations"),
    ('relation "sdp_', "call `await backend.create()` once, or run your migrations"),
    ("unable to open database file", "make its directory, and let this account write there"),
    ("not a database", "the file is damaged or something else: restore it, or name another one"),
    ("malformed", "the file is damaged: restore it from a backup"),
    ("does not exist", "make the database, or correct its name in the URL"),
    ("disk", "make room on the disk"),
)


def masked(url: URL) -> str:
    """The URL as it may be shown: no password, in the address or in its query."""
    query = {name: "hidden" if "pass" in name else value for name, value in url.query.items()}
    return url.set(query=query).render_as_string(hide_password=True)


def unavailable(shown: str, cause: BaseException) -> SdpatternsError:
    """The exception for a step that did not happen."""
    if isinstance(cause, SdpatternsError):
        return _again(cause)
    reason, state = _reason(cause), _state(cause) or ""
    if state == _DISK_FULL or "database or disk is full" in reason:
        full = BackendFull(f"{shown} is full ({reason}): make room on its disk")
        return _because(full, cause)
    refusal = _REFUSALS.get(state) or _fix(_REFUSAL_WORDS, reason)
    if refusal is not None:
        return _because(BackendUnavailable(f"{shown} refuses ({reason}): {refusal}"), cause)
    fix = _fix(_FIXES, reason) or holder_of(cause) or "start the database, or correct the URL"
    return _because(BackendUnavailable(f"{shown} is not available ({reason}): {fix}"), cause)


def _fix(fixes: Sequence[tuple[str, str]], reason: str) -> str | None:
    return next((fix for words, fix in fixes if words in reason), None)


def lost_reply(shown: str, cause: BaseException) -> SdpatternsError:
    """The exception for a step that may have happened."""
    message = f"the reply of {shown} was lost ({_reason(cause)}): the step may have happened; look before you repeat it"
    return _because(OutcomeUnknown(message), cause)


def is_conflict(error: BaseException) -> bool:
    """Two clients met: nothing happened, and the same step may succeed now."""
    return _state(error) in _CONFLICTS or _is_locked(error)


def holder_of(error: BaseException) -> str:
    """Who holds what a step needs, and what to do; empty where two steps just met."""
    if _is_locked(error):
        return "another program holds the file's write lock: end its transaction"
    return "another transaction holds the row: end it" if _state(error) == "55P03" else ""


def _is_locked(error: BaseException) -> bool:
    """Another connection holds the SQLite file's write lock. Extended codes keep it in their last byte."""
    inner = error.orig if isinstance(error, DBAPIError) else error
    return getattr(inner, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _state(error: BaseException) -> str | None:
    # A connection that could not be made raises the driver's own error, with no statement around it.
    inner = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(inner, "sqlstate", None)
    return state if isinstance(state, str) else None


def is_server_error(error: BaseException) -> bool:
    """The database itself said that the statement failed, so that surely nothing of it happened.

    Not so where it was shutting down or ended the connection, or where the disk failed under a commit.
    """
    if isinstance(error, DBAPIError):
        is_answer = not error.connection_invalidated
    else:
        is_answer = (
            # SQLite has no server whose answer could be lost.
            isinstance(error, NotWritten | sqlite3.Error)
            or _is_refused_by_server(error)
            or _is_refused_by_driver(error)
        )
    return is_answer and not (_state(error) or "").startswith(_GOING) and "disk I/O error" not in str(error)


def _is_refused_by_server(error: BaseException) -> bool:
    # What the server calls fatal ends the connection, and is not always about the statement in flight.
    said = getattr(error, "diag", error)
    severity = getattr(said, "severity_nonlocalized", None) or getattr(said, "severity_en", None)
    return _state(error) is not None and severity not in {"FATAL", "PANIC"}


def _is_refused_by_driver(error: BaseException) -> bool:
    """The driver never sent the statement, because it cannot write a parameter. Drivers share names, not types."""
    kinds = {kind.__name__ for kind in type(error).__mro__ if kind.__module__.startswith(("asyncpg", "psycopg"))}
    return _state(error) is None and bool(kinds & _NOT_SENT) and "closed" not in str(error)


def is_bad_value(error: BaseException) -> bool:
    """The database is well and refuses what it was given; another batch may pass."""
    if not is_server_error(error):
        return False
    state = _state(error)
    if state is not None:
        return state[:2] in _BAD_VALUES
    refused = NotWritten | DataError | InterfaceError | ProgrammingError
    return isinstance(error, refused | sqlite3.DataError | sqlite3.InterfaceError | sqlite3.ProgrammingError) or (
        _is_refused_by_driver(error)
    )


def _again(error: SdpatternsError) -> SdpatternsError:
    # One object raised by many callers would collect all their tracebacks.
    return _because(type(error)(*error.args), error.__cause__ or error)


def _because(error: SdpatternsError, cause: BaseException) -> SdpatternsError:
    error.__cause__ = cause
    return error


def _reason(cause: BaseException) -> str:
    inner = cause.orig if isinstance(cause, DBAPIError) and cause.orig is not None else cause
    text = " ".join(str(inner).split())
    return text[:200] or ("no answer in time" if isinstance(inner, TimeoutError) else type(inner).__name__)
