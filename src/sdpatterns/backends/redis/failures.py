"""How a call to the server can fail, in the two words that matter: not sent, or reply lost."""

from __future__ import annotations

import re

import redis.exceptions as theirs

__all__ = ["Lost", "NotSent", "ReplyLost", "code_of", "is_refusal"]

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
_INSIDE = re.compile(r"(?:^|[ -])(OOM|READONLY|NOPERM|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY) ")
_REFUSALS = {
    "BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "NOAUTH", "NOPERM", "READONLY", "TRYAGAIN", "WRONGPASS",
}  # fmt: skip


class Lost(Exception):
    """The server could not be talked to; `cause` says why."""

    def __init__(self, cause: BaseException | str) -> None:
        self.cause = cause
        super().__init__(str(cause) or type(cause).__name__)


class NotSent(Lost):
    """Nothing reached the server: nothing happened."""


class ReplyLost(Lost):
    """The command was sent and the connection broke before its reply: it may have happened."""


def code_of(error: Exception) -> str:
    """The code of an error reply, whichever release of redis-py dressed it up."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    # Inside a script the code may stand in the middle: "... @user_script:9: -OOM command not allowed".
    inside = _INSIDE.search(str(error))
    return inside[1] if inside else str(error).split(" ", 1)[0]


def is_refusal(error: Exception) -> bool:
    """Whether the server declined for reasons of its own: it is up, it did nothing, it may later."""
    return code_of(error) in _REFUSALS
