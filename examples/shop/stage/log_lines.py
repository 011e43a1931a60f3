"""The log of this process: its last lines, kept to be searched, and what each line says of where it comes from."""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sdpatterns.observability.logs import JsonFormatter
from sdpatterns.web.asgi.metrics import route_of
from sdpatterns.web.asgi.protocol import ASGIApp, Message, Receive, Scope, Send, innermost
from shop.stage.faults import is_watching
from shop.stage.traces import PROCESS

LINES_MAX = 5_000  # one is about 400 bytes
ANSWERED_MAX = 500
VALUES_MAX = 50
_SEARCHED = ("order_id", "correlation_id", "notice_id")  # the id of a saga's run is that of its order
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_log = logging.getLogger("shop.requests")
_service: ContextVar[str] = ContextVar("shop_service", default="")
KEPT: deque[str] = deque(maxlen=LINES_MAX)


@contextmanager
def serving(name: str) -> Iterator[None]:
    """Lines that are written during the block, and by the tasks that begin in it, are this service's."""
    before = _service.get()
    _service.set(name)
    try:
        yield
    finally:
        _service.set(before)


class KeepingFormatter(JsonFormatter):
    """JSON lines with the field `service`, kept for a search too.

    A record has one line, made once: a file that rotates asks for it twice, and other handlers may want it as well.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without the line break."""
        line: str | None = vars(record).get("shop_line")
        if line is None:
            if name := _service.get():
                record.service = name
            record.shop_line = line = super().format(record)
            KEPT.append(line)
        return line


class RequestLogMiddleware:
    """Names the service of all lines of a request, and logs each request that may change something.

    What only reads is counted and traced, and not logged: there is too much of it. Stands inside tracing, so that
    its line has the trace and the correlation id.
    """

    def __init__(self, app: ASGIApp, name: str) -> None:
        self._app = app
        self._name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        with serving(self._name):
            if scope["type"] != "http" or scope["method"] in _READS or is_watching(scope["path"]):
                await self._app(scope, receive, send)
            else:
                await self._told(scope, receive, send)

    async def _told(self, scope: Scope, receive: Receive, send: Send) -> None:
        began_s, status = time.monotonic(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            inner = innermost(scope)
            facts = {"method": scope["method"], "route": route_of(inner), "status": status}
            if order_id := inner.get("path_params", {}).get("order_id"):
                facts["order_id"] = order_id
            _log.info("request", extra={**facts, "duration_ms": round((time.monotonic() - began_s) * 1000, 1)})


def found(values: Collection[str]) -> list[dict[str, Any]]:
    """The kept lines that have one of these values as id of an order, of a customer's action or of a saga's run."""
    wanted = frozenset(values)
    texts = [line for line in list(KEPT) if any(value in line for value in wanted)]
    lines = [json.loads(text) for text in texts]
    return [line for line in lines if any(line.get(field) in wanted for field in _SEARCHED)][-ANSWERED_MAX:]


def routes() -> list[Route]:
    """Where the control room searches them."""

    async def search(request: Request) -> Response:
        values = [value for value in request.query_params.getlist("value") if value][:VALUES_MAX]
        return JSONResponse({"process": PROCESS, "rows": found(values)})

    return [Route("/internal/logs", search)]
