"""The ASGI words that the middlewares share: types, headers in, a whole answer out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from sdpatterns.web.problems import Problem

__all__ = [
    "ASGIApp",
    "Headers",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "client_address",
    "header_values",
    "send_problem",
]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers: TypeAlias = list[tuple[bytes, bytes]]


def header_values(scope: Scope, name: bytes) -> list[str]:
    """Every value of one header, in order, as they came. `name` in lower case."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def client_address(scope: Scope) -> str:
    """The address of whoever is connected. Behind a proxy: the server's proxy setting decides."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


async def send_problem(send: Send, problem: Problem, headers: Headers | None = None) -> None:
    """Answer with a problem."""
    body = problem.body()
    start: Headers = [*problem.headers(), (b"content-length", b"%d" % len(body)), *(headers or ())]
    await send({"type": "http.response.start", "status": problem.status, "headers": start})
    await send({"type": "http.response.body", "body": body})
