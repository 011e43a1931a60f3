"""Conditional requests to a WSGI application. See `sdpatterns.web.asgi.conditional`.

Source: RFC 9110, 13, https://www.rfc-editor.org/rfc/rfc9110#section-13
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeAlias
from wsgiref.types import WSGIApplication, WSGIEnvironment

from sdpatterns.web.asgi import conditional as asgi
from sdpatterns.web.asgi.protocol import ASGIApp
from sdpatterns.web.etags import ETag
from sdpatterns.web.wsgi.door import Door, from_environ

__all__ = ["ConditionalMiddleware", "Current"]

Current: TypeAlias = Callable[[WSGIEnvironment], ETag | None]
"""The tag of what a request is about, as it is now; None where there is nothing."""


class ConditionalMiddleware(Door):
    """`sdpatterns.web.asgi.conditional.ConditionalMiddleware` for WSGI; `current` is a plain function.

    **Keeps**: a GET's condition is judged by the very answer that would be sent. **May fail** with
    what `current` raises. **Costs** the body in memory and one digest for answers without a tag.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        current: Current | None = None,
        methods: Collection[str] = ("PUT", "PATCH", "DELETE", "POST"),
        body_bytes_max: int = 1_048_576,
    ) -> None:
        found = None if current is None else from_environ(current, "current")

        def part(inside: ASGIApp) -> ASGIApp:
            return asgi.ConditionalMiddleware(inside, current=found, methods=methods, body_bytes_max=body_bytes_max)

        super().__init__(app, part)
