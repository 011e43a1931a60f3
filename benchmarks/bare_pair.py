"""A gateway and a service that do nothing but pass a request on, in one process: see `shop.py`."""

from __future__ import annotations

import asyncio
import socket

import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shop.catalog.domain import FIELDS, pick, seed_products
from shop.catalog.search import PAGE_DEFAULT
from shop.serving import address, bind

PAGE = {"items": [pick(product, FIELDS) for product in seed_products(1, PAGE_DEFAULT)], "next": "x" * 90}
DOORS = [bind(0), bind(0)]
CLIENT = httpx2.AsyncClient(base_url=address(DOORS[1]))


async def products(_request: Request) -> Response:
    return JSONResponse(PAGE)


async def passed_on(request: Request) -> Response:
    answer = await CLIENT.get(request.url.path)
    return Response(answer.content, answer.status_code, media_type="application/json")


async def live(_request: Request) -> Response:
    return JSONResponse({"service": "gateway", "status": "live"})


class Server(uvicorn.Server):
    """Says that it is open by an event."""

    def __init__(self, app: Starlette) -> None:
        super().__init__(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
        self.open = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.open.set()


async def main() -> None:
    gateway = Server(Starlette(routes=[Route("/api/v1/products", passed_on), Route("/livez", live)]))
    service = Server(Starlette(routes=[Route("/api/v1/products", products)]))
    async with asyncio.TaskGroup() as group:
        for server, door in zip((gateway, service), DOORS, strict=True):
            group.create_task(server.serve(sockets=[door]))
            await server.open.wait()
        print(address(DOORS[0]), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
