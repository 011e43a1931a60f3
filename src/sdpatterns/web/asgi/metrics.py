"""One notice per request: listeners make counters, histograms or log lines of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, cast

from sdpatterns.core.asking import told
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.judging import answering
from sdpatterns.core.keys import check_name
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.web.asgi.protocol import AnswerEnd, ASGIApp, Message, Receive, Scope, Send, innermost
from sdpatterns.web.notices import RequestFinished

__all__ = ["METHODS", "MetricsMiddleware", "route_of"]

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
"""The methods that have a label of their own."""
_BROKEN_OFF = 499


def route_of(scope: Scope) -> str:
    """The pattern of the route that a framework left in the scope, with the place where it is mounted.

    A mounted application without routes is its place; what no route took is the empty string. A place
    that has parameters is left out: the scope holds their values, which are without bound.
    """
    route = scope.get("route")
    path = str(getattr(_whole(scope, route), "path", ""))
    mount = scope.get("root_path", "").removeprefix(scope["app_root_path"]) if "app_root_path" in scope else ""
    named = (f"{{{name}}}" in path or f"{{{name}:" in path for name in scope.get("path_params") or ())
    if not mount or not all(named):
        return path
    if hasattr(route, "routes"):  # a mount itself
        return mount if mount.endswith(path) else path
    return f"{mount}{path}"


def _whole(scope: Scope, route: object) -> object:
    """The route with the prefixes of its routers, where the framework keeps them apart (FastAPI from 0.137)."""
    told = scope.get("fastapi")
    context = told.get("effective_route_context") if isinstance(told, Mapping) else None
    return route if context is None or getattr(context, "original_route", None) is not route else context


class MetricsMiddleware:
    """Emits `RequestFinished` for each HTTP request, for metrics and logs; place it inside tracing, outside all others.

    `route` finds the pattern of a request once it was routed (default: what Starlette and FastAPI
    leave in the scope). A method that HTTP does not know is counted as `other`.

    The time ends with the last byte of the answer: what the application does afterwards, as in a
    background task, is no part of it.

    **Keeps**: exactly one notice per request, also if it failed; a `route` that raises counts as none.
    **May fail** with nothing of its own. **Costs** one truth test without a listener.
    """

    def __init__(self, app: ASGIApp, *, name: str, route: Callable[[Scope], str] = route_of) -> None:
        self._app = app
        self._straight = _async_function(app) or self._passed
        self._name = check_name("MetricsMiddleware", name)
        self._route = answering("route", route)

    if TYPE_CHECKING:

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...

    else:
        # A property, so that a request without a listener calls the application itself and not a function around
        # it. What it gives is an async function, because servers recognize ASGI 3 by that.
        @property
        def __call__(self) -> ASGIApp:
            return self._observed if LISTENERS else self._straight

    async def _passed(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def _observed(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        count = _Count(scope, send, self._tell)
        try:
            await self._app(scope, receive, count)
        except Exception:
            count.finish(500)
            raise
        finally:
            count.finish()

    def _tell(self, scope: Scope, status: int, duration_s: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = told("route", self._route, innermost(scope), "")
        tell(RequestFinished(name=self._name, method=method, route=route, status=status, duration_s=duration_s))


def _async_function(app: Any) -> ASGIApp | None:
    """The async function that a call of the application is; None where that is another one from call to call."""
    # Asked is the class: the `__call__` of a middleware like the one above depends on when it is looked up.
    called = app if iscoroutinefunction(app) else app.__call__ if iscoroutinefunction(type(app).__call__) else None
    return cast("ASGIApp | None", called)


class _Count(AnswerEnd):
    """Stands as `send`, for one notice: at the end of the answer, or when the application ends without one."""

    def __init__(self, scope: Scope, send: Send, tell: Callable[[Scope, int, float], None]) -> None:
        self._began = SYSTEM.monotonic()
        self._scope = scope
        self._send = send
        self._tell = tell
        self._status = _BROKEN_OFF
        self._is_told = False

    async def __call__(self, message: Message) -> None:
        await self._send(message)
        if message["type"] == "http.response.start":
            self._status = message["status"]
        if self.is_complete_with(message):
            self.finish()

    def finish(self, status: int | None = None) -> None:
        """Tell it, unless that was done."""
        if not self._is_told:
            self._is_told = True
            self._tell(self._scope, self._status if status is None else status, SYSTEM.monotonic() - self._began)
