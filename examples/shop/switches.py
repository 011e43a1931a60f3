"""Switches for defences: off replaces the one line of wiring by the unprotected call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sdpatterns.core.policy import AsyncCall, Policy
from shop.bodies import read_json
from shop.problems import not_found
from shop.values import Fields

DEFENCES = {"limiter": "gateway", "breaker": "payments", "idempotency": "ordering"}  # and who has the line


class Switch:
    """Whether a defence stands. It is on after every start: nobody forgets a shop undefended."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.on = True


class EitherPolicy(Policy):
    """One of two policies, by the switch's position when the call begins."""

    def __init__(self, switch: Switch, on: Policy, off: Policy) -> None:
        self.name = on.name
        self._switch = switch
        self._on = on
        self._off = off

    def wrap(self, call: AsyncCall, key: Callable[..., str] | None = None, /) -> AsyncCall:
        """The call under either policy."""
        defended, bare = self._on.wrap(call), self._off.wrap(call)

        async def either(*args: Any, **kwargs: Any) -> Any:
            return await (defended if self._switch.on else bare)(*args, **kwargs)

        return either

    def describe(self) -> str:
        """The policy that stands now."""
        return (self._on if self._switch.on else self._off).describe()


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
