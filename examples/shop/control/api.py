"""The control room over HTTP."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shop.bodies import read_json
from shop.control.live import Live
from shop.control.service import Control
from shop.values import Fields


def routes(control: Control) -> list[Route]:
    """The routes of the control room."""

    async def invariants(_request: Request) -> Response:
        return JSONResponse(await control.invariants())

    async def state(_request: Request) -> Response:
        return JSONResponse(await control.state())

    async def fault(request: Request) -> Response:
        if request.method == "DELETE":
            return JSONResponse(await control.heal())
        return JSONResponse(await control.begin_fault(await read_json(request)))

    async def heal(request: Request) -> Response:
        return JSONResponse(await control.heal(request.path_params["target"]))

    async def throw(request: Request) -> Response:
        wanted = await read_json(request)
        fields = Fields(wanted)
        on = fields.flag("on")
        fields.done()
        await control.defences.throw(request.path_params["name"], {"on": on})
        return JSONResponse({"on": on})

    return [
        Route("/control/live", Live(control).stream),
        Route("/control/api/invariants", invariants),
        Route("/control/api/state", state),
        Route("/control/api/fault", fault, methods=["PUT", "DELETE"]),
        Route("/control/api/faults/{target}", heal, methods=["DELETE"]),
        Route("/control/api/switches/{name}", throw, methods=["PUT"]),
    ]
