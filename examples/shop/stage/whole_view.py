"""What the control room asks a service, in one request: its pulse, and what it names of the rest."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeAlias

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from shop.database import Database
from shop.problems import Problem, not_found
from shop.stage.pulse import WATCHED

VIEW_PATH = "/internal/view"
_Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]


class WholeView:
    """The route that answers several watched routes of a service at once.

    `live` names paths that are answered each time. `book` names paths whose answers come from the service's
    database alone: with `unless`, they are answered only if that has changed since it had this version.

    Keeps: a version is that of the data before the books were read, so that no change is missed; what is live is
    read after the books.
    """

    def __init__(
        self, pulse: Callable[[], dict[str, Any]], routes: Sequence[BaseRoute], database: Database | None
    ) -> None:
        self._pulse = pulse
        self._database = database
        self._watched: dict[str, _Endpoint] = {
            route.path: route.endpoint
            for route in routes
            if isinstance(route, Route) and route.path in WATCHED and "GET" in (route.methods or ())
        }

    def routes(self) -> list[BaseRoute]:
        """The route, and that of the pulse alone."""
        return [Route(VIEW_PATH, self._show), Route("/internal/pulse", self._show_pulse)]

    async def _show_pulse(self, _request: Request) -> Response:
        return JSONResponse(self._pulse())

    async def _show(self, request: Request) -> Response:
        asked = request.query_params
        live, books, version, problem = b"{}", b"null", "", ""
        try:
            version = await self._version()
            if not version or version != asked.get("unless"):
                books = await self._answers(request, asked.getlist("book"))
            live = await self._answers(request, asked.getlist("live"))
        except Problem as refusal:
            version, problem = "", refusal.detail
        said = json.dumps({"pulse": self._pulse(), "version": version, "problem": problem}).encode()
        content = said[:-1] + b', "live": ' + live + b', "books": ' + books + b"}"
        return Response(content, media_type="application/json")

    async def _version(self) -> str:
        return "" if self._database is None else await self._database.version()

    async def _answers(self, request: Request, targets: Iterable[str]) -> bytes:
        """A JSON object of what each of the routes answers."""
        members = [json.dumps(target).encode() + b": " + await self._answer(request, target) for target in targets]
        return b"{" + b", ".join(members) + b"}"

    async def _answer(self, request: Request, target: str) -> bytes:
        path, _, query = target.partition("?")
        if path not in self._watched:
            raise not_found("such view")
        scope = {**request.scope, "path": path, "query_string": query.encode(), "path_params": {}}
        return bytes((await self._watched[path](Request(scope))).body)
