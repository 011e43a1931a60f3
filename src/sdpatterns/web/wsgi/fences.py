"""Refuse the requests of a client that has lost its lease to another one. See `sdpatterns.web.asgi.fences`.

Source: RFC 9110, 15.5.13 (412); RFC 6585, 3 (428); Kleppmann, "How to do distributed locking" (2016).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias
from wsgiref.types import WSGIApplication, WSGIEnvironment

from sdpatterns.coordination.lease.register import FenceRegister
from sdpatterns.web.asgi import fences as asgi
from sdpatterns.web.asgi.protocol import ASGIApp
from sdpatterns.web.wsgi.door import Door, from_environ, needing_no_loop

__all__ = ["FenceMiddleware", "Resource"]

Resource: TypeAlias = Callable[[WSGIEnvironment], str | None]
"""The name of what a request is about; None where it needs no lease."""


class FenceMiddleware(Door):
    """`sdpatterns.web.asgi.fences.FenceMiddleware` for WSGI; its functions get the environ.

    **Keeps**: once a request with a fence has passed, none with a smaller one reaches the application.
    **May fail** as the ASGI one; TypeError for a register whose store needs an event loop.
    **Costs** one step on the store for each request with the header.
    """

    def __init__(
        self,
        app: WSGIApplication,
        register: FenceRegister,
        *,
        resource: Resource | None = None,
        required: bool | Callable[[WSGIEnvironment], bool] | None = None,
    ) -> None:
        needing_no_loop(register)
        named = asgi.path_of if resource is None else from_environ(resource, "resource")
        needed: bool | Callable[..., bool]
        if required is None:
            needed = asgi.changes
        else:
            needed = required if isinstance(required, bool) else from_environ(required, "required")

        def part(inside: ASGIApp) -> ASGIApp:
            return asgi.FenceMiddleware(inside, register, resource=named, required=needed)

        super().__init__(app, part)
