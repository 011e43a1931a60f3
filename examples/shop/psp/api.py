"""The provider over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shop.bodies import read_json
from shop.problems import Problem
from shop.psp.domain import parse_fault
from shop.psp.service import NoAnswer, Provider
from shop.values import FieldError, Fields, InvalidInput, is_slug

_AMOUNT_MAX = 10**12
_PAGE_MAX = 1_000
_SILENCE_MAX_S = 60.0


class ProviderApi:
    """The provider's requests; those below /admin are the simulation's own."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def routes(self) -> list[Route]:
        """The provider's routes."""
        return [
            Route("/psp/v1/charges", self.charges, methods=["GET"]),
            Route("/psp/v1/charges", self.charge, methods=["POST"]),
            Route("/psp/v1/charges/{charge_id}/refund", self.refund, methods=["POST"]),
            Route("/psp/v1/ledger", self.ledger),
            Route("/admin/fault", self.fault, methods=["GET", "PUT", "DELETE"]),
        ]

    async def charges(self, request: Request) -> Response:
        """The book's lines of an order."""
        order_id = request.query_params.get("order_id", "")
        if not is_slug(order_id):
            raise InvalidInput(FieldError("/order_id", "must be an order id"))
        return JSONResponse([charge._asdict() for charge in await self._provider.of_order(order_id)])

    async def charge(self, request: Request) -> Response:
        """Charge a card, once per key."""
        key = request.headers.get("idempotency-key", "")
        if not key:
            raise Problem(400, "idempotency-key-missing", "A charge needs an Idempotency-Key.")
        fields = Fields(await read_json(request))
        order_id, number = fields.slug("order_id"), fields.nested("card").text("number", length_max=19)
        amount_minor = fields.whole("amount_minor", 1, _AMOUNT_MAX)
        fields.done()
        try:
            charge = await self._provider.charge(key, order_id, amount_minor, number)
        except NoAnswer:
            return await _silence(request)
        return JSONResponse(charge._asdict(), 201)

    async def refund(self, request: Request) -> Response:
        """Refund a charge in full."""
        try:
            charge = await self._provider.refund(request.path_params["charge_id"])
        except NoAnswer:
            return await _silence(request)
        return JSONResponse(charge._asdict())

    async def ledger(self, request: Request) -> Response:
        """Sums, order by order."""
        after = request.query_params.get("after", "")
        return JSONResponse({"orders": await self._provider.ledger(after, _PAGE_MAX)})

    async def fault(self, request: Request) -> Response:
        """The fault of the moment, perhaps after setting or healing it."""
        if request.method == "PUT":
            self._provider.begin(parse_fault(await read_json(request)))
        elif request.method == "DELETE":
            self._provider.begin(None)
        active = self._provider.fault()
        state = None if active is None else asdict(active[0]) | {"left_s": round(active[1], 1)}
        return JSONResponse({"fault": state})


async def _silence(request: Request) -> Response:
    """Hold the line until the caller hangs up."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_SILENCE_MAX_S):
            while (await request.receive())["type"] != "http.disconnect":
                pass
    return Response(status_code=504)
