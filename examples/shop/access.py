"""Which requests may reach which paths: by the port they came in on, and by their Host header."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send

from shop.problems import Problem, not_found

_INNER = ("/internal/", "/admin/")


class InternalPathsMiddleware:
    """Answers 404 to requests on the public port for internal paths."""

    def __init__(self, app: ASGIApp, port: int | None) -> None:
        self._app = app
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and scope["path"].startswith(_INNER) and arrived_on(scope, self._port):
            await not_found("such page").response()(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def arrived_on(scope: Scope, port: int | None) -> bool:
    """Whether a request came in on a port."""
    return bool(scope["server"][1] == port)


class HostCheckMiddleware:
    """Refuses requests for paths below one if their Host header names another site.

    Anyone can point a domain of theirs at this machine (DNS rebinding): for a browser a page of theirs
    and the shop are then one site. An address, or a name without a dot, cannot be theirs; neither can `own_host`,
    the name that the shop is known by.
    """

    def __init__(self, app: ASGIApp, below: str, own_host: str = "") -> None:
        self._app = app
        self._below = below
        self._own_host = own_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and scope["path"].startswith(self._below) and not self._is_ours(_host(scope)):
            foreign = Problem(421, "misdirected-request", "Call the shop by its address, or by localhost.")
            await foreign.response()(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        return is_local_host(host) or (self._own_host != "" and without_port(host).lower() == self._own_host)


def without_port(host: str) -> str:
    """The name or address in a Host header."""
    name, _, port = host.rpartition(":")
    return name if port.isdigit() else host


def _host(scope: Scope) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")


@lru_cache(maxsize=256)
def is_local_host(host: str) -> bool:
    """Whether a Host header names an address, or a machine of the local network."""
    name = without_port(host)
    if "." not in name and ":" not in name:
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return name.endswith(".localhost")
    return True
