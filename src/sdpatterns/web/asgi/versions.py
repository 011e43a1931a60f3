"""Versions of an API: unknown ones are refused, and the end of a deprecated one is announced.

| the request's version | gets |
|---|---|
| current | the answer |
| deprecated | the answer, with `Deprecation`, `Sunset` and `Link`, and a notice is emitted |
| removed | 410, with the link to its successor |
| unknown | 404 by path, 406 by header |
| missing or unreadable, by header | the default, or 400 |

Source: RFC 9745 (Deprecation), RFC 8594 (Sunset), RFC 8288 and RFC 5829 (Link), RFC 9110 (Vary, 406, 410)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sdpatterns.core.asking import told
from sdpatterns.core.judging import answering
from sdpatterns.core.keys import check_name
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.web.asgi.protocol import (
    ASGIApp,
    Headers,
    Message,
    Receive,
    Scope,
    Send,
    altered,
    client_address,
    header_values,
    local_path,
    send_problem,
    varying,
)
from sdpatterns.web.notices import DeprecatedVersionCalled
from sdpatterns.web.problems import Problem
from sdpatterns.web.versions import ByHeader, ByPath, Version, Versions

__all__ = ["VersionsMiddleware", "version_of"]

_PLACE = "sdpatterns.version"


def version_of(scope: Scope) -> str:
    """The name of the version that a request means; empty outside the versioned paths."""
    found: str = scope.get(_PLACE, "")
    return found


class VersionsMiddleware:
    """Finds the version of each HTTP request, and says in the answer when it is deprecated or ends.

    `by` is the way in which a request names it: `ByPath()` or `ByHeader()`. The path stays as it is;
    the application reads `version_of(scope)`, or routes `/v1/...` itself. `name` is the API's, for the
    notice `DeprecatedVersionCalled`, emitted for each call of a version that is deprecated by now;
    `caller` says in it who called (default: the client's address).

    **Keeps**: an unknown or removed version never reaches the application; what the application says
    itself by `Deprecation` or `Sunset`, of one endpoint, stands. **May fail** with nothing of its own.
    **Costs** about 5 µs. A WebSocket passes.
    """

    def __init__(
        self,
        app: ASGIApp,
        versions: Sequence[Version],
        *,
        name: str,
        by: ByPath | ByHeader | None = None,
        caller: Callable[[Scope], str] = client_address,
    ) -> None:
        self._app = app
        self._name = check_name("VersionsMiddleware", name)
        self._by = ByPath() if by is None else by
        self._versions = Versions(versions, self._by)
        self._caller = answering("caller", caller)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        vary = self._by.vary
        lines = header_values(scope, vary.lower()) if vary else []
        # A browser asks whether it may send the header (OPTIONS) before it does.
        found = self._versions.found(local_path(scope), lines, needed=scope["method"] != "OPTIONS")
        varied: Headers = [(b"vary", vary)] if vary else []
        if isinstance(found, Problem):
            await send_problem(send, found, varied)
        elif found is None:
            await self._app(scope, receive, _telling(send, [], vary))
        elif found.removed:
            await send_problem(send, self._versions.gone(), [*self._headers(scope, found), *varied])
        else:
            await self._serve(found, scope, receive, send)

    async def _serve(self, version: Version, scope: Scope, receive: Receive, send: Send) -> None:
        if LISTENERS and version.is_deprecated():
            caller = told("caller", self._caller, scope, "unknown")
            tell(DeprecatedVersionCalled(name=self._name, version=version.name, caller=caller, path=scope["path"]))
        fields = self._headers(scope, version)
        await self._app(altered(scope, {_PLACE: version.name}), receive, _telling(send, fields, self._by.vary))

    def _headers(self, scope: Scope, version: Version) -> Headers:
        if not version.successor:
            return self._versions.headers(version, b"")
        query = scope.get("query_string", b"")
        target = (scope.get("raw_path") or scope["path"].encode()) + (b"?" + query if query else b"")
        return self._versions.headers(version, target, mount=scope["path"].removesuffix(local_path(scope)))


def _telling(send: Send, fields: Headers, vary: bytes) -> Send:
    if not fields and not vary:
        return send

    # A link stands beside the application's own; the other fields yield to them.
    yields = any(name != b"link" for name, _ in fields)

    async def send_more(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers: Headers = list(message.get("headers", ()))
            own = {name.lower() for name, _ in headers} if yields else ()
            headers += [pair for pair in fields if pair[0] == b"link" or pair[0] not in own]
            message = {**message, "headers": varying(headers, vary) if vary else headers}
        await send(message)

    return send_more
