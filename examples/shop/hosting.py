"""What every service answers besides its own work: /livez, /readyz, /metrics and problems."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from shop.database import Database
from shop.problems import HANDLED, Problem, answer


def host(
    name: str,
    routes: Sequence[BaseRoute],
    *,
    database: Database | None = None,
    middleware: Sequence[Middleware] = (),
    on_error: Callable[[Request, Exception], Response] = answer,
) -> Starlette:
    """An ASGI app for a context: its routes, its health, its figures."""
    registry = CollectorRegistry()

    async def live(request: Request) -> Response:
        return JSONResponse({"service": name, "status": "live"})

    async def ready(request: Request) -> Response:
        if database is not None:
            await _touch(database)
        return JSONResponse({"service": name, "status": "ready"})

    def metrics(request: Request) -> Response:
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"Content-Type": media_type})

    health = [Route("/livez", live), Route("/readyz", ready), Route("/metrics", metrics)]
    handlers = dict.fromkeys(HANDLED, on_error)
    return Starlette(routes=[*health, *routes], exception_handlers=handlers, middleware=list(middleware))


async def _touch(database: Database) -> None:
    try:
        async with database.read() as connection:
            await connection.exec_driver_sql("SELECT 1")
    except Exception as error:
        raise Problem(503, "not-ready", "The database cannot be read.", retry_after_s=1) from error
