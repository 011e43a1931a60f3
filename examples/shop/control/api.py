"""The control room over HTTP."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shop.bodies import read_json
from shop.control.service import Control
from shop.values import Fields


def routes(control: Control) -> list[Route]:
    """The routes of the control room."""

    async def invariants(request: Request) -> Response:
        return JSONResponse(await control.invariants())

    async def state(request: Request) -> Response:
        return JSONResponse(await control.state())

    async def fault(request: Request) -> Response:
        if request.method == "DELETE":
            return JSONResponse(await control.heal_fault())
        wanted = await read_json(request)
        Fields(wanted).done()  # the rest is for the provider to judge
        return JSONResponse(await control.begin_fault(wanted))

    return [
        Route("/control/api/invariants", invariants),
        Route("/control/api/state", state),
        Route("/control/api/fault", fault, methods=["PUT", "DELETE"]),
    ]
