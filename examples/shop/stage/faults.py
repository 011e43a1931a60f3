"""Faults as data: how a service misbehaves, for how many of its requests and for how long. They heal by themselves."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shop.bodies import read_json
from shop.problems import Problem
from shop.stage.pulse import WATCHED
from shop.validation import FieldError, Fields, InvalidInput

_SERVICE_KINDS = ("fail", "slow", "hang")
PAUSE = "pause"  # stops who holds a lease, not requests
OLDER, CUT = "older", "cut"  # strike what ordering writes, not requests
_ACTED_OUT = (PAUSE, OLDER, CUT)
TARGETS = (
    *("catalog", "reviews", "cart", "inventory", "ordering", "payments", "fulfilment"),
    *("psp", "mail", "carrier", "sellers"),
)
KINDS = dict.fromkeys(TARGETS, _SERVICE_KINDS) | {
    "payments": (*_SERVICE_KINDS, PAUSE),
    "ordering": (*_SERVICE_KINDS, OLDER, CUT),
    "psp": (*_SERVICE_KINDS, "late", "twice"),
    "fulfilment": (*_SERVICE_KINDS, "lost"),
    "sellers": (*_SERVICE_KINDS, "poison"),
}
TTL_MAX_S = 600
SLOW_S = 1.5
_HANG_MAX_S = 60.0
_DEALT = 20  # so many requests are decided together
_WATCHED_BELOW = (
    "/internal/switches/",
    "/internal/traces",
    "/internal/logs",
    "/internal/sagas/",
    "/internal/histories/",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """How a service misbehaves, for how many of the requests and for how long."""

    target: str
    kind: str
    percent: int
    ttl_s: int
    seed: int


def parse(body: Any, targets: Collection[str] = TARGETS) -> Fault:
    """A fault from a JSON object; InvalidInput names what cannot be accepted."""
    fields = Fields(body)
    target, kind = fields.slug("target"), fields.slug("kind")
    if target not in targets:
        fields.refuse("target", f"must be one of {', '.join(targets)}")
    kinds = KINDS.get(target, _SERVICE_KINDS)
    if kind not in kinds:
        fields.refuse("kind", f"must be one of {', '.join(kinds)}")
    percent, ttl_s = fields.whole("percent", 1, 100), fields.whole("ttl_s", 1, TTL_MAX_S)
    seed = fields.whole("seed", 0, 2**31 - 1)
    fields.done()
    return Fault(target=target, kind=kind, percent=percent, ttl_s=ttl_s, seed=seed)


def _left_s(body: Any, fault: Fault) -> float:
    """What is left of a fault that began elsewhere, or before; all of its time where nothing is said."""
    left_s = body.get("left_s", fault.ttl_s)
    if type(left_s) in (int, float) and 0 < left_s <= fault.ttl_s:
        return float(left_s)
    raise InvalidInput(FieldError("/left_s", f"must be a number up to {fault.ttl_s}"))


class FaultDecision(NamedTuple):
    """What happens to one request."""

    kind: str
    booked: bool  # whether the work is done although the caller will not learn of it


class FaultInjector:
    """The fault of the moment, decided by its seed.

    Keeps: the same fault and the same number of requests give the same injector; a fault ends by itself. Of every
    twenty requests it hits as many as its percentage says, and which of them is chance: drawn one by one, half of the
    first twenty may fail where one in five should.
    """

    def __init__(self) -> None:
        self._fault: Fault | None = None
        self._ends_s = 0.0
        self._chance = random.Random(0)
        self._hits: list[bool] = []
        self._owed = 0

    def begin(self, fault: Fault, now_s: float, left_s: float | None = None) -> None:
        """Begin a fault, for all of its time or for what is left of it."""
        self._fault = fault
        self._ends_s = now_s + (fault.ttl_s if left_s is None else left_s)
        self._chance = random.Random(fault.seed)
        self._hits, self._owed = [], 0

    def heal(self) -> None:
        """End the fault at once."""
        self._fault = None

    def current(self, now_s: float) -> tuple[Fault, float] | None:
        """The fault that is on, with the seconds it has left."""
        if self._fault is not None and now_s >= self._ends_s:
            self._fault = None
        return None if self._fault is None else (self._fault, self._ends_s - now_s)

    def next(self, now_s: float) -> FaultDecision:
        """The decision in which the next request is met."""
        active = self.current(now_s)
        if active is None or active[0].kind in _ACTED_OUT or not self._is_hit(active[0]):
            return FaultDecision("well", booked=True)
        return FaultDecision(active[0].kind, self._chance.random() < 0.5)

    def is_pausing(self, now_s: float) -> bool:
        """Whether holders of a lease are to stop."""
        active = self.current(now_s)
        return active is not None and active[0].kind == PAUSE

    def stops(self, now_s: float, since_s: float) -> bool:
        """Whether a holder that has worked since then stops now; one that began after the fault goes on."""
        active = self.current(now_s)
        if active is None or active[0].kind != PAUSE or since_s > self._ends_s - active[0].ttl_s:
            return False
        return self._is_hit(active[0])

    def strikes(self, kind: str, now_s: float) -> bool:
        """Whether a fault of this kind is on and hits what a service does now."""
        active = self.current(now_s)
        return active is not None and active[0].kind == kind and self._is_hit(active[0])

    def _is_hit(self, fault: Fault) -> bool:
        if not self._hits:
            hits, self._owed = divmod(self._owed + _DEALT * fault.percent, 100)
            self._hits = [True] * hits + [False] * (_DEALT - hits)
            self._chance.shuffle(self._hits)
        return self._hits.pop()

    def view(self) -> dict[str, Any] | None:
        """The fault that is on as a JSON object."""
        active = self.current(time.monotonic())
        return None if active is None else asdict(active[0]) | {"left_s": round(active[1], 1)}


class FaultMiddleware:
    """Applies the fault of the moment to each request, except to those that only read the state."""

    def __init__(self, app: ASGIApp, injector: FaultInjector) -> None:
        self._app = app
        self._injector = injector

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or is_watching(scope["path"]):
            await self._app(scope, receive, send)
            return
        decision = self._injector.next(time.monotonic())
        if decision.kind == "lost":
            await self._app(scope, receive, _into_nothing)
        if decision.kind in ("fail", "lost"):
            refusal = Problem(500, "fault", "This service has a fault, on purpose.").response()
            await refusal(scope, receive, send)
        elif decision.kind == "hang":
            await (await hang(Request(scope, receive)))(scope, receive, send)
        else:
            if decision.kind == "slow":
                await asyncio.sleep(SLOW_S)
            await self._app(scope, receive, send)


async def _into_nothing(_message: Message) -> None:
    """Where an answer goes that is lost."""


def is_watching(path: str) -> bool:
    """Whether a request only looks at the service."""
    return path in WATCHED or path.startswith(_WATCHED_BELOW)


async def hang(request: Request) -> Response:
    """Give no answer until the caller disconnects."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_HANG_MAX_S):
            while (await request.receive())["type"] != "http.disconnect":
                pass
    return Response(status_code=504)


def fault_route(target: str, injector: FaultInjector) -> Route:
    """Where the fault of a service is seen, set and healed; the simulation's own, outside its API."""

    async def fault(request: Request) -> Response:
        if request.method == "PUT":
            body = await read_json(request)
            begun = parse(body, (target,))
            injector.begin(begun, time.monotonic(), _left_s(body, begun))
        elif request.method == "DELETE":
            injector.heal()
        return JSONResponse({"fault": injector.view()})

    return Route("/admin/fault", fault, methods=["GET", "PUT", "DELETE"])
