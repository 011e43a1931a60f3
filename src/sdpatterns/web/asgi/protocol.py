"""The ASGI words that the middlewares share: types, headers in, a whole answer out."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping, Sequence
from typing import Any, TypeAlias, TypeVar

from sdpatterns.core.policy import Unawaited
from sdpatterns.web.problems import Problem

__all__ = [
    "WITHOUT_BYTES",
    "ASGIApp",
    "AnswerEnd",
    "BodyTooLarge",
    "Headers",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "altered",
    "awaitable_part",
    "body_of",
    "by_bytes_alone",
    "by_header",
    "client_address",
    "header_name",
    "header_values",
    "headers_named",
    "innermost",
    "local_path",
    "send_problem",
    "varying",
    "whole_body",
]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers: TypeAlias = list[tuple[bytes, bytes]]


T = TypeVar("T")


def awaitable_part(thing: T) -> T:
    """`thing`, if a door can await it. Raises TypeError for what `blocking(...)` gave."""
    if isinstance(thing, Unawaited):
        raise TypeError(f"a middleware awaits what it asks: give it the object itself, not {thing!r}")
    return thing


def header_values(scope: Scope, name: bytes) -> list[str]:
    """Every value of one header, in order, as they came. `name` in lower case."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def headers_named(scope: Scope, names: Collection[bytes]) -> dict[bytes, list[str]]:
    """The values of each of these headers that came, as `header_values` gives them, in one look at all headers."""
    found: dict[bytes, list[str]] = {}
    for name, value in scope["headers"]:
        if (lower := name.lower()) in names:
            found.setdefault(lower, []).append(value.decode("latin-1"))
    return found


def local_path(scope: Scope) -> str:
    """The path below the place where the application is mounted, empty at that place itself; not all
    servers leave it in the path.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) if path == root or path.startswith(f"{root}/") else path


def varying(headers: Headers, name: bytes) -> Headers:
    """The headers, saying also that the answer depends on this one of the request's."""
    lines = [value.decode("latin-1") for key, value in headers if key.lower() == b"vary"]
    if not lines:
        return [*headers, (b"vary", name)]
    words = {word.strip() for word in ",".join(lines).lower().split(",")}
    return headers if words & {"*", name.decode().lower()} else [*headers, (b"vary", name)]


def client_address(scope: Scope) -> str:
    """The address of the connected client. Behind a proxy: the server's proxy setting decides."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def by_header(name: str) -> Callable[[Scope], str]:
    """A key function: the value of this request header, such as `x-api-key`.

    Requests without the header share the key "". A header that was given twice is one key, its values joined.
    Raises `ValueError` for what cannot be the name of a header.
    """
    lower = header_name(name).lower().encode()
    return lambda scope: ", ".join(header_values(scope, lower))


def header_name(name: object) -> str:
    """The name of a header, checked. Raises `ValueError` for what no request can carry."""
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise ValueError(f"a header is named like 'x-api-key', got {name!r}")
    return name


_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class BodyTooLarge(Exception):
    """The request's body is over the bound."""


async def whole_body(
    scope: Scope, receive: Receive, bytes_max: int, declared: Sequence[str] | None = None
) -> bytes | None:
    """The body, or None when the client went away. Raises `BodyTooLarge`.

    `declared` are the values of Content-Length, where they were read already.
    """
    if declared is None:
        declared = header_values(scope, b"content-length")
    # Compared by its length first: an int is not made of more than some thousand digits.
    if declared and declared[0].isdecimal() and (len(declared[0]) > 18 or int(declared[0]) > bytes_max):
        raise BodyTooLarge
    return await body_of(receive, bytes_max)


async def body_of(receive: Receive, bytes_max: float = math.inf) -> bytes | None:
    """The body whatever its length was said to be, or None when the client went away. Raises `BodyTooLarge`."""
    parts = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        if len(parts) + len(part) > bytes_max:
            raise BodyTooLarge
        if not message.get("more_body", False):
            # One that comes in one part, as most do, is not copied.
            return bytes(parts + part) if parts else bytes(part)
        parts += part


class AnswerEnd:
    """Tells which of an answer's messages is its last: the last part of the body, or of the trailers.

    What stands as `send` inherits it, because an object more for each request costs more than the question.
    """

    _has_trailers = False

    def is_complete_with(self, message: Message) -> bool:
        """Whether the answer is complete with this message, which is one after those asked about before."""
        kind = message["type"]
        if kind in _BODIES:
            return not (self._has_trailers or message.get("more_body", False))
        if kind == "http.response.start":
            self._has_trailers = message.get("trailers", False)
        return kind == "http.response.trailers" and not message.get("more_trailers", False)


WITHOUT_BYTES = frozenset({"http.response.pathsend", "http.response.zerocopysend"})
"""The parts of an answer's body whose bytes only the server sees."""
_BODIES = WITHOUT_BYTES | {"http.response.body"}


def by_bytes_alone(scope: Scope) -> Scope:
    """The scope without the server's other ways of answering: by file descriptor or path, with trailers.

    A part that reads answers on their way out asks for this; the application then sends plain bytes.
    """
    offered = scope.get("extensions")
    if not offered:
        return scope
    known = {name: value for name, value in offered.items() if not name.startswith("http.response.")}
    return scope if len(known) == len(offered) else altered(scope, {"extensions": known})


def altered(scope: Scope, changes: Mapping[str, Any]) -> Scope:
    """A copy of the scope with these changes, which `innermost` finds from the scope itself.

    A framework leaves the route in the scope that it got; a middleware further out has another one.
    """
    inner = {**scope, **changes}
    inner.pop(_INNER, None)
    scope[_INNER] = inner
    return inner


def innermost(scope: Scope) -> Scope:
    """The scope that the application got, whatever the middlewares between altered."""
    while (inner := scope.get(_INNER)) is not None:
        scope = inner
    return scope


_INNER = "sdpatterns.inner"


async def send_problem(send: Send, problem: Problem, headers: Headers | None = None) -> None:
    """Answer with a problem."""
    body = problem.body()
    start: Headers = [*problem.headers(), (b"content-length", b"%d" % len(body)), *(headers or ())]
    await send({"type": "http.response.start", "status": problem.status, "headers": start})
    await send({"type": "http.response.body", "body": body})
