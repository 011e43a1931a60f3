"""Compressed answers of a WSGI application. See `sdpatterns.web.asgi.compression`.

Source: RFC 9110, 8.4, 8.8.3.3 and 12.5, https://www.rfc-editor.org/rfc/rfc9110
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from wsgiref.types import WSGIApplication

from sdpatterns.web.asgi import compression as asgi
from sdpatterns.web.encodings import CODINGS
from sdpatterns.web.wsgi.door import Door

__all__ = ["CompressionMiddleware"]


class CompressionMiddleware(Door):
    """`sdpatterns.web.asgi.compression.CompressionMiddleware` for WSGI, with the same settings.

    **Keeps**: the decoded body is the application's, byte for byte. **May fail** with nothing of its
    own. **Costs** the time of the compressor, in the request's thread.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        codings: Sequence[str] = CODINGS,
        bytes_min: int = 500,
        types: Callable[[str], bool] = asgi.shrinks,
    ) -> None:
        super().__init__(
            app,
            lambda inside: asgi.CompressionMiddleware(inside, codings=codings, bytes_min=bytes_min, types=types),
        )
