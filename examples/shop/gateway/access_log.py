"""What clients were answered, most recent last: for the dots on the map, and for judges who trust no limiter's word."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sdpatterns.core.context import trace
from sdpatterns.web.asgi.protocol import client_address
from shop.validation import whole

_KEPT_MAX = 20_000
_PAGE_MAX = 5_000
_UNSEEN = ("/control", "/static", "/livez", "/readyz", "/metrics", "/internal")
_LISTS = ("/products", "/api/v1/products")


class Answer(NamedTuple):
    """One answer: who asked for what and when, and what the answer was."""

    number: int
    arrived_us: int
    answered_us: int
    kind: str
    status: int
    trace_id: str
    client: str
    is_api: bool


def is_search(scope: Scope) -> bool:
    """Whether a request makes the catalog search: it asks for a list, with words."""
    if scope["path"] not in _LISTS or not scope["query_string"]:
        return False
    query = parse_qsl(scope["query_string"].decode("latin-1"))
    return any(name == "q" and value.strip() for name, value in query)


def kind_of(scope: Scope) -> str:
    """What a request is for, in a word."""
    path: str = scope["path"]
    if is_search(scope):
        return "search"
    if path.startswith("/api/v1/checkout") or (path.startswith("/checkout") and scope["method"] == "POST"):
        return "checkout"
    if "/carts/" in path or path.startswith("/cart"):
        return "cart"
    if path.startswith("/api/"):
        return "api"
    return "page" if scope["method"] in ("GET", "HEAD") and not path.startswith("/psp") else "other"


class AccessLog:
    """The last answers of this gateway.

    Keeps: numbers grow by one in the order in which answers began; no more than `_KEPT_MAX` are kept.
    """

    def __init__(self, now_us: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        self._now_us = now_us
        self._kept: deque[Answer] = deque(maxlen=_KEPT_MAX)
        self._numbers = count(1)

    def now_us(self) -> int:
        """The clock by which answers are noted."""
        return self._now_us()

    def note(self, scope: Scope, arrived_us: int, status: int) -> None:
        """One more answer."""
        here = trace.get()
        trace_id = here.trace_id if here is not None else ""
        client = client_address(scope)
        self._kept.append(
            Answer(
                number=next(self._numbers),
                arrived_us=arrived_us,
                answered_us=self._now_us(),
                kind=kind_of(scope),
                status=status,
                trace_id=trace_id,
                client=client,
                is_api=scope["path"].startswith("/api/"),
            )
        )

    def after(self, number: int) -> list[Answer]:
        """Those that are newer than a number, oldest first; a number from an earlier run means all."""
        if not self._kept or number == self._kept[-1].number:
            return []
        if number > self._kept[-1].number:
            number = 0
        first = max(0, number - self._kept[0].number + 1)
        return [self._kept[place] for place in range(first, min(len(self._kept), first + _PAGE_MAX))]

    def route(self) -> Route:
        """Where the control room reads them."""

        async def show(request: Request) -> Response:
            found = self.after(whole(request.query_params, "after"))
            rows: list[dict[str, Any]] = [answer._asdict() for answer in found]
            return JSONResponse({"answers": rows})

        return Route("/internal/answers", show)


class AccessLogMiddleware:
    """Notes each answer that a visitor of the shop gets, the refusals of everything further inside included."""

    def __init__(self, app: ASGIApp, answers: AccessLog) -> None:
        self._app = app
        self._answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or scope["path"].startswith(_UNSEEN):
            await self._app(scope, receive, send)
            return
        arrived_us = self._answers.now_us()

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._answers.note(scope, arrived_us, message["status"])
            await send(message)

        await self._app(scope, receive, send_and_note)
