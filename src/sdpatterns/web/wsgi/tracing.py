"""Trace, correlation id and deadline of a WSGI request. See `sdpatterns.web.asgi.tracing`.

Source: W3C Recommendation "Trace Context", https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

from collections.abc import Callable
from wsgiref.types import WSGIApplication, WSGIEnvironment

from sdpatterns.core.tracecontext import random_id
from sdpatterns.web.asgi import tracing as asgi
from sdpatterns.web.asgi.protocol import ASGIApp
from sdpatterns.web.wsgi.door import Door, from_environ
from sdpatterns.web.wsgi.metrics import route_of

__all__ = ["TracingMiddleware"]


class TracingMiddleware(Door):
    """`sdpatterns.web.asgi.tracing.TracingMiddleware` for WSGI; its functions get the environ.

    **Keeps**: malformed headers are as good as none; what is found is in `sdpatterns.core.context`
    while the application answers, streams included, and nowhere else. A request whose time is up when
    it arrives gets 504. **May fail** with nothing of its own. **Costs** a few microseconds.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        trusts: Callable[[WSGIEnvironment], bool] = lambda _environ: False,
        joins_traces: bool = True,
        deadline_default_s: float | None = None,
        deadline_max_s: float = 60.0,
        ids: Callable[[int], str] = random_id,
        service: str | None = None,
        route: Callable[[WSGIEnvironment], str] = route_of,
    ) -> None:
        def part(inside: ASGIApp) -> ASGIApp:
            return asgi.TracingMiddleware(
                inside, trusts=from_environ(trusts, "trusts"), joins_traces=joins_traces,
                deadline_default_s=deadline_default_s, deadline_max_s=deadline_max_s, ids=ids,
                service=service, route=from_environ(route, "route"),
            )  # fmt: skip

        super().__init__(app, part)
