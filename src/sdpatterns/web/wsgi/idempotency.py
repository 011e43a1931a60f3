"""The header Idempotency-Key in front of a WSGI application. See `sdpatterns.web.asgi.idempotency`.

Source: draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from wsgiref.types import WSGIApplication, WSGIEnvironment

from sdpatterns.coordination.idempotency import Idempotency
from sdpatterns.web.asgi import idempotency as asgi
from sdpatterns.web.asgi.protocol import ASGIApp
from sdpatterns.web.wsgi.door import Door, from_environ, needing_no_loop

__all__ = ["IdempotencyMiddleware"]


class IdempotencyMiddleware(Door):
    """`sdpatterns.web.asgi.idempotency.IdempotencyMiddleware` for WSGI; its functions get the environ.

    **Keeps**: one execution per key and request among those whose answer is stored, whichever
    thread or process they reach. **May fail** as the ASGI one; TypeError for a store that needs an
    event loop. **Costs** two steps on the store, the body and the answer in memory, and a thread for
    the heartbeat while the application works.
    """

    def __init__(
        self,
        app: WSGIApplication,
        idempotency: Idempotency,
        *,
        methods: Collection[str] = ("POST", "PATCH"),
        required: bool | Callable[[WSGIEnvironment], bool] = False,
        tenant: Callable[[WSGIEnvironment], str] = lambda _environ: "",
        header: str = "Idempotency-Key",
        quotes: asgi.Quotes = "required",
        body_bytes_max: int = 1_048_576,
        answer_bytes_max: int = 524_288,
        stores: Callable[[int], bool] = asgi.judges,
    ) -> None:
        def part(inside: ASGIApp) -> ASGIApp:
            return asgi.IdempotencyMiddleware(
                inside, needing_no_loop(idempotency), methods=methods,
                required=required if isinstance(required, bool) else from_environ(required, "required"),
                tenant=from_environ(tenant, "tenant"), header=header, quotes=quotes, body_bytes_max=body_bytes_max,
                answer_bytes_max=answer_bytes_max, stores=stores,
            )  # fmt: skip

        super().__init__(app, part)
