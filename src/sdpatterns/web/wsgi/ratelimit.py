"""Rate limits in front of a WSGI application. See `sdpatterns.web.asgi.ratelimit`.

Source: draft-ietf-httpapi-ratelimit-headers; RFC 6585 (429); RFC 9110 (Retry-After).
"""

from __future__ import annotations

from collections.abc import Callable
from wsgiref.types import WSGIApplication, WSGIEnvironment

from sdpatterns.web.asgi import ratelimit as asgi
from sdpatterns.web.asgi.protocol import ASGIApp
from sdpatterns.web.ratelimit import Shown
from sdpatterns.web.wsgi.door import Door, from_environ, needing_no_loop
from sdpatterns.web.wsgi.environ import by_header, remote_address

__all__ = ["RateLimitMiddleware", "by_header"]


class RateLimitMiddleware(Door):
    """`sdpatterns.web.asgi.ratelimit.RateLimitMiddleware` for WSGI; its functions get the environ.

    **Keeps**: a refused request never reaches the application; every answer says where its client
    stands. **May fail** as the ASGI one; TypeError for a limiter whose store needs an event loop.
    **Costs** one decision per request.
    """

    def __init__(
        self,
        app: WSGIApplication,
        limiter: asgi.Limiter,
        *,
        key: Callable[[WSGIEnvironment], asgi.Key | None] = remote_address,
        cost: int | Callable[[WSGIEnvironment], int] = 1,
        exempt: Callable[[WSGIEnvironment], bool] | None = None,
        rates: Shown = (),
        partition: Callable[[WSGIEnvironment], bytes] | None = None,
    ) -> None:
        def part(inside: ASGIApp) -> ASGIApp:
            return asgi.RateLimitMiddleware(
                inside, needing_no_loop(limiter), key=from_environ(key, "key"),
                cost=cost if isinstance(cost, int) else from_environ(cost, "cost"), rates=rates,
                exempt=None if exempt is None else from_environ(exempt, "exempt"),
                partition=None if partition is None else from_environ(partition, "partition"),
            )  # fmt: skip

        super().__init__(app, part)
