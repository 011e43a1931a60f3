"""What spares a client bytes and round trips, around everything the gateway answers."""

from __future__ import annotations

from starlette.middleware import Middleware

from sdpatterns.web.asgi.batch import BatchMiddleware
from sdpatterns.web.asgi.compression import CompressionMiddleware
from sdpatterns.web.asgi.conditional import ConditionalMiddleware
from shop.bodies import BODY_MAX_BYTES

BATCH_PATH = "/api/v1/batch"
BATCH_MAX, BATCH_S = 20, 30.0
_METHODS = ("GET", "PUT", "POST", "DELETE")


def bandwidth_middleware() -> list[Middleware]:
    """Coded answers, 304 for what a client has, many requests in one; what stands inside sees each request."""
    return [
        Middleware(CompressionMiddleware),
        Middleware(ConditionalMiddleware),
        Middleware(
            BatchMiddleware,
            path=BATCH_PATH,
            methods=_METHODS,
            items_max=BATCH_MAX,
            bytes_max=BODY_MAX_BYTES,
            timeout_s=BATCH_S,
        ),
    ]
