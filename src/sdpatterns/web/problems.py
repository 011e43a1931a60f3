"""Problem details: errors that a machine can read, `application/problem+json`.

Source: RFC 9457, https://www.rfc-editor.org/rfc/rfc9457
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from sdpatterns.errors import (
    AnswerNotKept,
    BackendError,
    BulkheadFull,
    CircuitIsOpen,
    ClaimHeld,
    ClaimLost,
    CursorNotValid,
    DeadlineExceeded,
    KeyReused,
    RateLimited,
    Rejected,
    StaleFence,
)

__all__ = ["MEDIA_TYPE", "QUOTA_EXCEEDED", "Problem", "problem_of", "retry_after"]

MEDIA_TYPE = "application/problem+json"
QUOTA_EXCEEDED = "https://www.iana.org/assignments/http-problem-types#quota-exceeded"
"""The kind of problem that a limit or a quota which is used up is; from draft-ietf-httpapi-ratelimit-headers."""

_RESERVED = frozenset({"type", "title", "status", "detail", "instance"})
_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (RateLimited, 429),
    (ClaimHeld, 409),
    (ClaimLost, 409),
    (KeyReused, 422),
    (AnswerNotKept, 409),
    (StaleFence, 412),
    (CursorNotValid, 400),
    (CircuitIsOpen, 503),
    (BulkheadFull, 503),
    (Rejected, 503),
    (DeadlineExceeded, 504),
    (BackendError, 503),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """One problem. `type` is a URI that names its kind; `more` are members of that kind's own.

    `retry_after_s` becomes the header Retry-After, in whole seconds, rounded up.
    """

    status: int
    title: str = ""
    detail: str = ""
    type: str = "about:blank"
    instance: str = ""
    retry_after_s: float | None = None
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 400 <= self.status <= 599:
            raise ValueError(f"status must be from 400 to 599, got {self.status!r}")
        taken = _RESERVED & self.more.keys()
        if taken:
            raise ValueError(f"more must not name the member {min(taken)!r}")

    def members(self) -> dict[str, Any]:
        """The members of the JSON object, the empty ones left out."""
        title = self.title or _phrase(self.status)
        known = {"type": self.type, "title": title, "status": self.status}
        optional = {"detail": self.detail, "instance": self.instance}
        return known | {name: value for name, value in optional.items() if value} | dict(self.more)

    def body(self) -> bytes:
        """The problem as JSON."""
        return json.dumps(self.members(), separators=(",", ":"), ensure_ascii=False).encode()

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Content-Type, Cache-Control, and Retry-After where it is known."""
        listed = [(b"content-type", MEDIA_TYPE.encode()), (b"cache-control", b"no-store")]
        if self.retry_after_s is not None:
            listed.append((b"retry-after", retry_after(self.retry_after_s).encode()))
        return listed

    def text_headers(self) -> dict[str, str]:
        """The same for frameworks that take strings."""
        return {name.decode(): value.decode() for name, value in self.headers()}


def retry_after(seconds: float) -> str:
    """The value of a Retry-After header: whole seconds, at least 1, never earlier than asked."""
    return str(max(1, math.ceil(seconds)))


def problem_of(error: Exception) -> Problem | None:
    """The problem that one of this package's exceptions is to an HTTP client, or None for another's.

    It says nothing of keys, names or addresses inside.
    """
    for kind, status in _STATUS:
        if isinstance(error, kind):
            seconds = getattr(error, "retry_after_s", None)
            if seconds is None and (status == 503 or kind is ClaimLost):
                seconds = 1.0
            type_ = QUOTA_EXCEEDED if kind is RateLimited else "about:blank"
            return Problem(status=status, type=type_, detail=_SAID.get(kind, ""), retry_after_s=seconds)
    return None


_SAID: dict[type[Exception], str] = {
    RateLimited: "Too many requests. Try again later.",
    ClaimHeld: "The same request is in flight. Try again later.",
    ClaimLost: "The same request was taken over. Try again later.",
    CursorNotValid: "This cursor is not one of this list. Begin with the first page.",
    AnswerNotKept: "This request was carried out before; its answer was not kept and is not available again.",
    StaleFence: "Another client has taken over: the lease of this request is not the newest that was seen here.",
    KeyReused: "This idempotency key was used before with another request.",
    DeadlineExceeded: "The request could not be carried out in time.",
    BackendError: "A service that this one needs is away. Try again later.",
}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
