"""Switches for defences: off replaces the defence by the unprotected call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sdpatterns.core.policy import AsyncCall, Policy
from shop.bodies import read_json
from shop.problems import not_found
from shop.validation import Fields

P = ParamSpec("P")
T = TypeVar("T")
DEFENCES = {  # and who has the line
    "limiter": "gateway",
    "breaker": "payments",
    "idempotency": "ordering",
    "fencing": "payments",
    "outbox": "ordering",
    "undo": "ordering",
    "upcaster": "ordering",
    "position": "ordering",
    "inbox": "fulfilment",
    "jobs": "fulfilment",
}


class Switch:
    """Whether a defence is on. After every start it is, so that a shop is not left without defences by mistake."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.on = True

    def policy(self, defence: Policy) -> Policy:
        """The defence in a pipeline, with this switch."""
        return SwitchedPolicy(self, defence)

    def choice(self, defended: T, bare: T) -> Callable[[], T]:
        """Gives one of two things, by the position at the time of each call."""
        return lambda: defended if self.on else bare

    def function(self, defended: Callable[P, T], bare: Callable[P, T]) -> Callable[P, T]:
        """Calls one of two functions, by the position at the time of each call."""

        def either(*args: P.args, **kwargs: P.kwargs) -> T:
            return (defended if self.on else bare)(*args, **kwargs)

        return either

    def middleware(self, defend: Callable[[ASGIApp], ASGIApp]) -> Middleware:
        """The defence around an app, with this switch."""
        return Middleware(EitherApp, switch=self, defend=defend)


class SwitchedPolicy(Policy):
    """A policy, or the bare call, by the switch's position when the call begins."""

    def __init__(self, switch: Switch, defence: Policy) -> None:
        self.name = defence.name
        self._switch = switch
        self._defence = defence

    def wrap(self, call: AsyncCall, key: Callable[..., str] | None = None, /) -> AsyncCall:
        """The call under the policy, and as it is."""
        defended = self._defence.wrap(call, key)

        async def either(*args: Any, **kwargs: Any) -> Any:
            return await (defended if self._switch.on else call)(*args, **kwargs)

        return either

    def describe(self) -> str:
        """The policy, if it stands now."""
        return self._defence.describe() if self._switch.on else f"{self.name} switched off"


class EitherApp:
    """A middleware around an app, or the bare app, by the switch's position when the request comes."""

    def __init__(self, app: ASGIApp, switch: Switch, defend: Callable[[ASGIApp], ASGIApp]) -> None:
        self._switch = switch
        self._defended = defend(app)
        self._bare = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        await (self._defended if self._switch.on else self._bare)(scope, receive, send)


def positions(switches: Sequence[Switch]) -> dict[str, bool]:
    """Each switch by name, and whether it is on."""
    return {switch.name: switch.on for switch in switches}


def routes(switches: Sequence[Switch]) -> list[Route]:
    """The route that throws a service's switches."""
    by_name = {switch.name: switch for switch in switches}

    async def throw(request: Request) -> Response:
        switch = by_name.get(request.path_params["name"])
        if switch is None:
            raise not_found("such switch")
        fields = Fields(await read_json(request))
        on = fields.flag("on")
        fields.done()
        switch.on = on
        return JSONResponse(positions(switches))

    return [Route("/internal/switches/{name}", throw, methods=["PUT"])]
