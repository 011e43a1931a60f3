"""The provider over HTTP."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shop.bodies import read_json
from shop.problems import Problem
from shop.psp.service import NoAnswer, Provider
from shop.stage.faults import FaultInjector, fault_route, hang
from shop.validation import FieldError, Fields, InvalidInput, is_slug, whole

_AMOUNT_MAX = 10**12
_PAGE_MAX = 1_000


class ProviderApi:
    """The provider's requests; those below /admin are the simulation's own."""

    def __init__(self, provider: Provider, injector: FaultInjector) -> None:
        self._provider = provider
        self._injector = injector

    def routes(self) -> list[Route]:
        """The provider's routes."""
        return [
            Route("/psp/v1/charges", self.charges, methods=["GET"]),
            Route("/psp/v1/charges", self.charge, methods=["POST"]),
            Route("/psp/v1/charges/{charge_id}/refund", self.refund, methods=["POST"]),
            Route("/psp/v1/ledger", self.ledger),
            Route("/psp/v1/visits", self.visits),
            fault_route("psp", self._injector),
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
        order_id, number = fields.slug("order_id"), fields.nested("card").text("number", length_max=19, is_card=True)
        amount_minor = fields.whole("amount_minor", 1, _AMOUNT_MAX)
        fields.done()
        try:
            charge = await self._provider.charge(key, order_id, amount_minor, number)
        except NoAnswer:
            return await hang(request)
        return JSONResponse(charge._asdict(), 201)

    async def refund(self, request: Request) -> Response:
        """Refund a charge in full."""
        try:
            charge = await self._provider.refund(request.path_params["charge_id"])
        except NoAnswer:
            return await hang(request)
        return JSONResponse(charge._asdict())

    async def ledger(self, request: Request) -> Response:
        """Sums, order by order."""
        after = request.query_params.get("after", "")
        since_us = whole(request.query_params, "since_us")
        return JSONResponse({"orders": await self._provider.ledger(after, _PAGE_MAX, since_us)})

    async def visits(self, request: Request) -> Response:
        """Who came, in order."""
        after = whole(request.query_params, "after")
        return JSONResponse({"visits": await self._provider.visits(after, _PAGE_MAX)})
