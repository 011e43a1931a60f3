"""One notice per WSGI request. See `sdpatterns.web.asgi.metrics`."""

from __future__ import annotations

from collections.abc import Callable
from wsgiref.types import WSGIApplication, WSGIEnvironment

from sdpatterns.web.asgi import metrics as asgi
from sdpatterns.web.wsgi.door import Door, from_environ

__all__ = ["MetricsMiddleware", "route_of"]


def route_of(environ: WSGIEnvironment) -> str:
    """The pattern of the route: what the application put in as `sdpatterns.route`, or Flask's rule."""
    told = environ.get("sdpatterns.route")
    rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
    return str(told or getattr(rule, "rule", ""))


class MetricsMiddleware(Door):
    """`sdpatterns.web.asgi.metrics.MetricsMiddleware` for WSGI; `route` gets the environ.

    **Keeps**: exactly one notice per request, also if it failed. **May fail** with nothing of its
    own. **Costs** one truth test and two readings of the clock without a listener.
    """

    def __init__(self, app: WSGIApplication, *, name: str, route: Callable[[WSGIEnvironment], str] = route_of) -> None:
        super().__init__(
            app, lambda inside: asgi.MetricsMiddleware(inside, name=name, route=from_environ(route, "route"))
        )
