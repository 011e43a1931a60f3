"""How a call to the server can fail: not sent, reply lost, or refused, and what mends a refusal."""

from __future__ import annotations

import re

import redis.exceptions as theirs

from sdpatterns.ports.engine.failures import Lost, NotSent, ReplyLost

__all__ = ["Lost", "NotSent", "ReplyLost", "code_of", "is_refusal", "remedy_of"]

_CODES: tuple[tuple[type[Exception], str], ...] = (
    (theirs.NoScriptError, "NOSCRIPT"),
    (theirs.OutOfMemoryError, "OOM"),
    (theirs.ReadOnlyError, "READONLY"),
    (theirs.BusyLoadingError, "LOADING"),
    (theirs.MovedError, "MOVED"),
    (theirs.AskError, "ASK"),
    (theirs.TryAgainError, "TRYAGAIN"),
    (theirs.MasterDownError, "MASTERDOWN"),
    (theirs.ClusterDownError, "CLUSTERDOWN"),
    (theirs.AuthenticationError, "NOAUTH"),
    (theirs.NoPermissionError, "NOPERM"),
)
_INSIDE = re.compile(r"(?:^|[ -])(OOM|READONLY|NOPERM|MASTERDOWN|MISCONF|NOREPLICAS|CLUSTERDOWN|TRYAGAIN|BUSY|DENIED) ")
# A script that may not run a command says so in other words than the command itself would.
_NOT_ALLOWED = re.compile(r"ACL failure in script|can't run this command|has no permissions to")

_REMEDIES = {
    "BUSY": "a script there runs too long: end it with SCRIPT KILL",
    "CLUSTERDOWN": "see CLUSTER INFO there: some slots have no node",
    "DENIED": "turn its protected mode off or set a password",
    "LOADING": "wait until it has loaded its data",
    "MASTERDOWN": "it is a replica that lost its primary: name the primary in the URL",
    "MISCONF": "it cannot save to its disk: see its log and make room there",
    "NOAUTH": "correct the user and the password in the URL",
    "NOPERM": "grant the URL's user EVALSHA, EVAL, TIME, GET, SET, DEL, PUBLISH, SUBSCRIBE on its keys and channels,"
    " and for queues +@hash, +@sortedset, EXISTS, PEXPIRE and PUBSUB",
    "NOREPLICAS": "it has too few replicas to accept writes: see min-replicas-to-write there",
    "READONLY": "it is a replica: name the primary in the URL",
    "TRYAGAIN": "wait until the slot has moved",
    "WRONGPASS": "correct the user and the password in the URL",
}
"""What the server may say though it is up, and what mends it. It did nothing, and it may later."""

_AT_CONNECT = (
    ("max number of clients", "raise its maxclients, or lower connections_max"),
    ("certificate verify failed", "name the certificate authority in the URL: ?ssl_ca_certs=ca.pem"),
)


def code_of(error: BaseException) -> str:
    """The code of an error reply, whichever release of redis-py dressed it up."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    # Inside a script the code may stand in the middle: "... @user_script:9: -OOM command not allowed".
    inside = _INSIDE.search(str(error))
    if inside is not None:
        return inside[1]
    return "NOPERM" if _NOT_ALLOWED.search(str(error)) else str(error).split(" ", 1)[0]


def is_refusal(error: BaseException) -> bool:
    """Whether the server declined for reasons of its own: it is up, it did nothing, it may later."""
    return isinstance(error, theirs.RedisError) and code_of(error) in _REMEDIES


def remedy_of(error: object) -> str | None:
    """What mends a refusal; None where the server did not refuse but could not be reached."""
    while isinstance(error, Lost) and not isinstance(error.cause, str):
        error = error.cause
    if isinstance(error, BaseException) and is_refusal(error):
        return _REMEDIES[code_of(error)]
    return next((remedy for words, remedy in _AT_CONNECT if words in str(error)), None)
