"""One notice per request: listeners make counters, histograms or log lines of it."""

from __future__ import annotations

from collections.abc import Callable

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.keys import check_name
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.web.asgi.protocol import ASGIApp, Message, Receive, Scope, Send
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
    path = str(getattr(route, "path", ""))
    mount = scope.get("root_path", "").removeprefix(scope["app_root_path"]) if "app_root_path" in scope else ""
    named = (f"{{{name}}}" in path or f"{{{name}:" in path for name in scope.get("path_params") or ())
    if not mount or not all(named):
        return path
    if hasattr(route, "routes"):  # a mount itself
        return mount if mount.endswith(path) else path
    return f"{mount}{path}"


class MetricsMiddleware:
    """Tells `RequestFinished` for each HTTP request; place it outermost, after tracing.

    `route` finds the pattern of a request once it was routed (default: what Starlette and FastAPI
    leave in the scope). A method that HTTP does not know is counted as `other`.

    **Keeps**: exactly one notice per request, whatever became of it. **May fail** with nothing of
    its own. **Costs** one truth test and two readings of the clock without a listener.
    """

    def __init__(self, app: ASGIApp, *, name: str, route: Callable[[Scope], str] = route_of) -> None:
        self._app = app
        self._name = check_name("MetricsMiddleware", name)
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or not LISTENERS:
            await self._app(scope, receive, send)
            return
        began = SYSTEM.monotonic()
        status = _BROKEN_OFF

        async def send_and_see(message: Message) -> None:
            nonlocal status
            await send(message)
            if message["type"] == "http.response.start":
                status = message["status"]

        try:
            await self._app(scope, receive, send_and_see)
        except Exception:
            status = 500
            raise
        finally:
            self._tell(scope, status, SYSTEM.monotonic() - began)

    def _tell(self, scope: Scope, status: int, duration_s: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = self._route(scope)
        tell(RequestFinished(name=self._name, method=method, route=route, status=status, duration_s=duration_s))
