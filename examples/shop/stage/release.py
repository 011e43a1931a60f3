"""The version of a replica: what it says of itself in each answer, and the bug that a bad version has."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shop.bodies import read_json
from shop.problems import Problem
from shop.stage.pulse import WATCHED

VERSION_HEADER, SHARE_HEADER = "x-version", "x-traffic-share"
SHARE_PATH = "/internal/traffic-share"
BUG_PERCENT = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """A version of a service."""

    version: int = 1
    has_bug: bool = False
    """Whether each third request or so fails: a bug that no test has found."""
    share: float = 0.0
    """The share of the traffic that a replica of it asks for; 0 for as much as the others get."""


class ReleaseMiddleware:
    """Says in each answer which version this is and which share of the traffic it wants, and acts out its bug.

    Callers take the share from the last answer that they had from a replica, so that no other part has to tell them.
    """

    def __init__(self, app: ASGIApp, release: Release) -> None:
        self._app = app
        self._has_bug = release.has_bug
        self._version = str(release.version).encode()
        self._share = release.share
        self._requests = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers()]
            await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == SHARE_PATH and scope["method"] == "PUT":
            await (await self._set_share(Request(scope, receive)))(scope, receive, sending)
        elif self._has_bug and self._meets_bug(scope["path"]):
            bug = Problem(500, "internal-error", "This version has a bug.")
            await bug.response()(scope, receive, sending)
        else:
            await self._app(scope, receive, sending)

    async def _set_share(self, request: Request) -> Response:
        try:
            self._share = _share(await read_json(request))
        except Problem as problem:
            return problem.response()
        return JSONResponse({"share": self._share})

    def _meets_bug(self, path: str) -> bool:
        """Whether a request is one of those that fail, which are spread evenly."""
        return path not in WATCHED and next(self._requests) * BUG_PERCENT % 100 < BUG_PERCENT

    def _headers(self) -> list[tuple[bytes, bytes]]:
        share = f"{self._share:g}".encode()
        return [(VERSION_HEADER.encode(), self._version), (SHARE_HEADER.encode(), share)]


def _share(body: object) -> float:
    share = body.get("share") if isinstance(body, Mapping) else None
    if not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share <= 1:
        raise Problem(422, "invalid-input", "share must be a number from 0 to 1.")
    return float(share)
