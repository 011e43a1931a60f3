"""The request of WSGI as that of ASGI, and back.

Source: PEP 3333 (WSGI); the ASGI specification, version 3.0, https://github.com/django/asgiref
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from wsgiref.types import WSGIEnvironment

from sdpatterns.web.asgi.protocol import Headers, Scope, header_name

__all__ = [
    "by_header",
    "declared_length",
    "environ_headers",
    "remote_address",
    "scope_of",
    "with_body",
    "with_headers",
]

_UNPREFIXED = {"CONTENT_TYPE": b"content-type", "CONTENT_LENGTH": b"content-length"}


def remote_address(environ: WSGIEnvironment) -> str:
    """The address of the connected client. Behind a proxy: the server's proxy setting decides."""
    return environ.get("REMOTE_ADDR") or "unknown"


def by_header(name: str) -> Callable[[WSGIEnvironment], str]:
    """A key function: the value of this request header, such as `x-api-key`.

    Requests without the header share the key "". Raises `ValueError` for what cannot be the name of a header.
    """
    known = header_name(name).upper().replace("-", "_")
    variable = known if known in _UNPREFIXED else f"HTTP_{known}"
    return lambda environ: environ.get(variable, "")


def environ_headers(environ: WSGIEnvironment) -> Headers:
    """The request's headers; one that was given twice is one, joined as the server joins them."""
    found = [
        (name[5:].replace("_", "-").lower().encode("latin-1"), value.encode("latin-1", "replace"))
        for name, value in environ.items()
        if name.startswith("HTTP_")
    ]
    return found + [(name, environ[key].encode("latin-1")) for key, name in _UNPREFIXED.items() if environ.get(key)]


def with_headers(environ: WSGIEnvironment, headers: Headers) -> WSGIEnvironment:
    """The environ with these headers instead of its own."""
    changed = {name: value for name, value in environ.items() if not name.startswith("HTTP_")}
    for key, value in headers:
        name = key.decode("latin-1").upper().replace("-", "_")
        changed[name if name in _UNPREFIXED else f"HTTP_{name}"] = value.decode("latin-1")
    return changed


def with_body(environ: WSGIEnvironment, body: bytes) -> WSGIEnvironment:
    """The environ with this body, which was read before."""
    known = {name: value for name, value in environ.items() if name != "HTTP_TRANSFER_ENCODING"}
    return known | {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}


def declared_length(environ: WSGIEnvironment) -> int | None:
    """How many bytes the body has; None if only its end shows it."""
    declared = environ.get("CONTENT_LENGTH") or ""
    if declared.isascii() and declared.isdigit() and len(declared) <= 18:
        return int(declared)
    # Without a length a server that does not mark the end would let a reader wait without end.
    return None if environ.get("wsgi.input_terminated") else 0


def scope_of(environ: WSGIEnvironment, headers: Headers) -> dict[str, Any]:
    """The request as an ASGI scope."""
    root = environ.get("SCRIPT_NAME", "").encode("latin-1", "replace")
    path = root + environ.get("PATH_INFO", "").encode("latin-1", "replace")
    port = environ.get("SERVER_PORT", "")
    address = environ.get("REMOTE_ADDR")
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": environ.get("SERVER_PROTOCOL", "HTTP/1.1").partition("/")[2],
        "method": environ["REQUEST_METHOD"],
        "scheme": environ.get("wsgi.url_scheme", "http"),
        "path": path.decode("utf-8", "replace"),
        "raw_path": quote(path, safe="/:@!$&'()*+,;=~").encode(),
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1", "replace"),
        "root_path": root.decode("utf-8", "replace"),
        "headers": headers,
        "client": (address, 0) if address else None,
        "server": (environ.get("SERVER_NAME", ""), int(port) if port.isdigit() else None),
        "extensions": {},
    }
    return dict(scope)
