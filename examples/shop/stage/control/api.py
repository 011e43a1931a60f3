"""The control room over HTTP."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shop.bodies import read_json
from shop.problems import Problem
from shop.settings import VISITORS_MAX
from shop.stage.control.event_stream import EventStream
from shop.stage.control.game_days import GameDays
from shop.stage.control.logs import Logs
from shop.stage.control.scenario_runner import ScenarioRunner
from shop.stage.control.service import Control
from shop.stage.control.traces import Traces
from shop.validation import FieldError, Fields, InvalidInput, whole

PIECES_MAX = 10_000
PACE_MAX = 100.0
USES_MAX, OFF_MAX_MINOR = 1_000_000, 100_000
STATE_PATIENCE_S = 2.5
TRACES_DEFAULT, TRACES_MAX = 50, 200


def routes(control: Control) -> list[Route]:
    """The routes of the control room."""

    async def invariants(_request: Request) -> Response:
        return JSONResponse(await control.invariants())

    async def state(_request: Request) -> Response:
        return JSONResponse(await control.state(patience_s=STATE_PATIENCE_S))

    async def fault(request: Request) -> Response:
        if request.method == "DELETE":
            return JSONResponse(await control.heal())
        return JSONResponse(await control.begin_fault(await read_json(request)))

    async def heal(request: Request) -> Response:
        return JSONResponse(await control.heal(request.path_params["target"]))

    async def set_switch(request: Request) -> Response:
        fields = Fields(await read_json(request))
        on = fields.flag("on")
        fields.done()
        await control.set_switch(request.path_params["name"], on=on)
        return JSONResponse({"on": on})

    async def load(request: Request) -> Response:
        fields = Fields(await read_json(request))
        visitors = fields.whole("visitors", 0, VISITORS_MAX)
        fields.done()
        await control.load.set_visitors(visitors)
        return JSONResponse(control.load.view())

    return [
        *_scenarios(control.scenarios, control.game_days),
        *_traces(control.traces),
        *_logs(control.logs),
        *_dead_letters(control),
        *_sagas(control),
        *_requests(control),
        *_rollouts(control),
        *control.game_days.routes(),
        Route("/control/api/load", load, methods=["PUT"]),
        Route("/control/live", EventStream(control).stream),
        Route("/control/api/invariants", invariants),
        Route("/control/api/state", state),
        Route("/control/api/fault", fault, methods=["PUT", "DELETE"]),
        Route("/control/api/faults/{target}", heal, methods=["DELETE"]),
        Route("/control/api/switches/{name}", set_switch, methods=["PUT"]),
    ]


def _requests(control: Control) -> list[Route]:
    async def deliver(request: Request) -> Response:
        fields = Fields(await read_json(request))
        sku, pieces = fields.slug("sku"), fields.whole("pieces", 1, PIECES_MAX)
        fields.done()
        await control.deliver(sku, pieces)
        return JSONResponse({"sku": sku, "pieces": pieces}, 201)

    async def night(_request: Request) -> Response:
        return JSONResponse(await control.run_night(), 202)

    async def reverse(_request: Request) -> Response:
        return JSONResponse(await control.reverse_payouts())

    async def cancel_second_orders(_request: Request) -> Response:
        return JSONResponse({"cancelled": await control.cancel_second_orders()})

    async def coupon(request: Request) -> Response:
        fields = Fields(await read_json(request))
        code, uses = fields.slug("code"), fields.whole("uses", 1, USES_MAX)
        off_minor = fields.whole("off_minor", 1, OFF_MAX_MINOR)
        fields.done()
        await control.issue_coupon(code, uses, off_minor)
        return JSONResponse({"code": code, "uses": uses, "off_minor": off_minor}, 201)

    return [
        Route("/control/api/deliveries", deliver, methods=["POST"]),
        Route("/control/api/coupons", coupon, methods=["POST"]),
        Route("/control/api/nights", night, methods=["POST"]),
        Route("/control/api/reversals", reverse, methods=["POST"]),
        Route("/control/api/second-orders", cancel_second_orders, methods=["DELETE"]),
    ]


def _scenarios(scenarios: ScenarioRunner, game_days: GameDays) -> list[Route]:
    async def bill(_request: Request) -> Response:
        return JSONResponse(scenarios.cards())

    async def begin(request: Request) -> Response:
        if game_days.is_holding:  # its faults would be the scenario's too
            raise Problem(409, "game-day-running", "A game day is under way; stop it first.")
        scenarios.begin(request.path_params["name"], *_pace_and_size(await read_json(request)))
        return JSONResponse(scenarios.view(), 202)

    async def stop(_request: Request) -> Response:
        await scenarios.stop()
        return JSONResponse({"scenario": scenarios.view()})

    async def seen(_request: Request) -> Response:
        return JSONResponse({"scenario": scenarios.view()})

    return [
        Route("/control/api/scenario", seen),
        Route("/control/api/scenarios", bill),
        Route("/control/api/scenarios", stop, methods=["DELETE"]),
        Route("/control/api/scenarios/{name}", begin, methods=["POST"]),
    ]


def _dead_letters(control: Control) -> list[Route]:
    async def letters(_request: Request) -> Response:
        return JSONResponse(await control.dead_letters())

    async def redrive(request: Request) -> Response:
        return JSONResponse(await control.redrive(await read_json(request)))

    return [
        Route("/control/api/dead-letters", letters),
        Route("/control/api/dead-letters/redrive", redrive, methods=["POST"]),
    ]


def _rollouts(control: Control) -> list[Route]:
    async def seen(_request: Request) -> Response:
        return JSONResponse(control.rollouts.view())

    async def begin(request: Request) -> Response:
        fields = Fields(await read_json(request))
        service, has_bug, at_once = fields.slug("service"), fields.flag("has_bug"), fields.flag("at_once")
        fields.done()
        control.begin_rollout(service, has_bug=has_bug, at_once=at_once)
        return JSONResponse(control.rollouts.view(), 202)

    async def stop(_request: Request) -> Response:
        control.rollouts.stop()
        return JSONResponse(control.rollouts.view(), 202)

    return [
        Route("/control/api/rollout", seen),
        Route("/control/api/rollout", begin, methods=["POST"]),
        Route("/control/api/rollout", stop, methods=["DELETE"]),
    ]


def _sagas(control: Control) -> list[Route]:
    async def order(request: Request) -> Response:
        return JSONResponse(await control.order(request.path_params["order_id"]))

    async def resume(request: Request) -> Response:
        return JSONResponse(await control.resume(request.path_params["run_id"]))

    return [
        Route("/control/api/orders/{order_id}", order),
        Route("/control/api/sagas/{run_id}/resume", resume, methods=["POST"]),
    ]


def _traces(known: Traces) -> list[Route]:
    async def traces(request: Request) -> Response:
        limit = whole(request.query_params, "limit") or TRACES_DEFAULT
        return JSONResponse(await known.recent(min(limit, TRACES_MAX)))

    async def trace(request: Request) -> Response:
        return JSONResponse(await known.trace(request.path_params["trace_id"]))

    return [Route("/control/api/traces", traces), Route("/control/api/traces/{trace_id}", trace)]


def _logs(kept: Logs) -> list[Route]:
    async def of_order(request: Request) -> Response:
        return JSONResponse(await kept.of_order(request.path_params["order_id"]))

    return [Route("/control/api/orders/{order_id}/logs", of_order)]


def _pace_and_size(body: object) -> tuple[float, float]:
    fields = Fields(body)
    fields.done()
    given = body if isinstance(body, dict) else {}
    return _number(given, "pace", PACE_MAX), _number(given, "size", 1.0)


def _number(given: Mapping[str, object], name: str, most: float) -> float:
    """A number from a tenth to a bound, 1 where none is given."""
    found = given.get(name, 1.0)
    if not isinstance(found, int | float) or isinstance(found, bool) or not 0.1 <= found <= most:
        raise InvalidInput(FieldError(f"/{name}", f"must be a number from 0.1 to {most:g}"))
    return float(found)
