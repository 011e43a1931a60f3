"""What every answer of every service bears: security headers, and no address that a client made up."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
RAW = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]


class HeadersMiddleware:
    """Adds the security headers that an answer lacks, and keeps redirects on this site.

    Keeps: a redirect to the host that the client named becomes one to its path, because the Host header is
    the client's own word (it may name any site).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                if 300 <= message["status"] < 400:
                    headers = [(name, _on_this_site(scope, name, value)) for name, value in headers]
                had = {name.lower() for name, _ in headers}
                message = {**message, "headers": headers + [pair for pair in RAW if pair[0] not in had]}
            await send(message)

        await self._app(scope, receive, send_guarded)


def _on_this_site(scope: Scope, name: bytes, value: bytes) -> bytes:
    """A Location without the client's Host in it; any other header as it is."""
    if name.lower() != b"location":
        return value
    hosts = {host.lower() for header, host in scope["headers"] if header == b"host"}
    try:
        target = urlsplit(value)
    except ValueError:
        return b"/"
    if not target.netloc or target.netloc.lower() not in hosts:
        return value
    path = b"/" + target.path.lstrip(b"/")  # two slashes would begin another host's address
    return path + (b"?" + target.query if target.query else b"")
