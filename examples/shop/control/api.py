"""The control room over HTTP."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shop.bodies import read_json
from shop.control.service import Control


def routes(control: Control) -> list[Route]:
    """The routes of the control room."""

    async def invariants(request: Request) -> Response:
        return JSONResponse(await control.invariants())

    async def state(request: Request) -> Response:
        return JSONResponse(await control.state())

    async def fault(request: Request) -> Response:
        wanted = None if request.method == "DELETE" else await read_json(request)
        return JSONResponse(await control.set_fault(wanted))

    return [
        Route("/control/api/invariants", invariants),
        Route("/control/api/state", state),
        Route("/control/api/fault", fault, methods=["PUT", "DELETE"]),
    ]
