"""Rate limits at the door: 429 with the standard fields, before the application sees the request.

```
RateLimit-Policy: "api";q=100;w=60        the rule: 100 in 60 seconds
RateLimit: "api";r=57;t=26                where this client stands: 57 left, all back in 26 s
```

Of a quota it shows every period of the client's plan, named after it:

```
RateLimit-Policy: "partners-day";q=1000;w=86400, "partners-month";q=10000;w=2592000
RateLimit: "partners-day";r=57;t=9606, "partners-month";r=8120;t=614406
```

Source: draft-ietf-httpapi-ratelimit-headers; RFC 6585 (429); RFC 9110 (Retry-After).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from sdpatterns.errors import BackendError, RateLimited
from sdpatterns.web.asgi.protocol import (
    ASGIApp,
    Headers,
    Message,
    Receive,
    Scope,
    Send,
    awaitable_part,
    client_address,
    send_problem,
)
from sdpatterns.web.problems import Problem, problem_of

__all__ = ["Limiter", "RateLimitMiddleware"]

Key: TypeAlias = str | Mapping[str, str]
"""A key, or one for each scope of a limiter that has several."""

Parameters: TypeAlias = dict[str, int | str | bytes]


class Allowance(Protocol):
    """What the middleware reads of a rate."""

    @property
    def count(self) -> int:
        """Requests in a period."""
        ...

    @property
    def period_s(self) -> float:
        """The seconds of a period."""
        ...

    @property
    def limit(self) -> int:
        """How many pass at once."""
        ...


class Decided(Protocol):
    """What the middleware reads of a limiter's decision; `rate` is the one that binds."""

    @property
    def allowed(self) -> bool:
        """Whether the request may pass."""
        ...

    @property
    def remaining(self) -> int:
        """How many more would pass now."""
        ...

    @property
    def retry_after_s(self) -> float:
        """Seconds until the same request would pass."""
        ...

    @property
    def reset_after_s(self) -> float:
        """Seconds until nothing of the limit is used."""
        ...

    @property
    def rate(self) -> Allowance:
        """The rate that binds."""
        ...


class Standing(Allowance, Protocol):
    """What the middleware reads of one period of a quota."""

    @property
    def period(self) -> str:
        """What the period is called."""
        ...

    @property
    def remaining(self) -> int:
        """How many more would pass in it."""
        ...

    @property
    def reset_after_s(self) -> float:
        """Seconds until it ends."""
        ...


class Limiter(Protocol):
    """What the middleware asks of a limiter; `RateLimiter` is one, and `Quota`, whose decisions have
    `standings` besides. Its keys are what the middleware's `key` gives.
    """

    name: str

    async def acquire(self, key: Any, /, cost: int = 1) -> Decided:
        """Decide without waiting."""
        ...


Shown: TypeAlias = Allowance | Sequence[Allowance] | Mapping[str, Allowance | Sequence[Allowance]]
"""The rates that a header shows: one, several, or such by the name of a scope."""


class _Policy(NamedTuple):
    name: str
    scope: str | None
    rate: Allowance

    def binds(self, decision: Decided) -> bool:
        """Whether it is this one that the decision is about; equal rates are told apart by their scope."""
        return self.rate == decision.rate and self.scope in {None, getattr(decision, "scope", None)}


def _policies(name: str, rates: Shown) -> list[_Policy]:
    if isinstance(rates, Mapping):
        return [
            _Policy(each.name, scope, each.rate)
            for scope, inside in rates.items()
            for each in _policies(f"{name}-{scope}", inside)
        ]
    listed = list(rates) if isinstance(rates, Sequence) else [rates]
    if len(listed) == 1:
        return [_Policy(name, None, listed[0])]
    return [_Policy(f"{name}-{number}", None, rate) for number, rate in enumerate(listed, 1)]


class RateLimitMiddleware:
    """Asks `limiter` before each HTTP request and WebSocket handshake.

    `key` gives the key of a request from its scope (default: the client's address), or one for each
    scope of a limiter with several; `cost` gives what it costs. `partition`, if given, is the public
    name of the key, for the parameter `pk`. `rates` are the ones that RateLimit-Policy shows, in the
    form in which the limiter got them, so by scope where it has scopes; by default the one that binds.
    A rate's quota is what it lets pass at once, its window the time in which that much comes back.

    **Keeps**: a refused request never reaches the application; every HTTP answer says where its
    client stands. **May fail**: a limiter that raises because its store is away gets a 503.
    **Costs** one decision per request.
    """

    def __init__(
        self,
        app: ASGIApp,
        limiter: Limiter,
        *,
        key: Callable[[Scope], Key] = client_address,
        cost: int | Callable[[Scope], int] = 1,
        rates: Shown = (),
        partition: Callable[[Scope], bytes] | None = None,
    ) -> None:
        from sdpatterns.web import http_sf

        self._app = app
        self._limiter = awaitable_part(limiter)
        self._key = key
        self._cost = cost
        self._partition = partition
        self._written = http_sf.string_list
        if not limiter.name.isascii():
            raise ValueError(f"name must be of ASCII characters to stand in a header, got {limiter.name!r}")
        self._policies = _policies(limiter.name, rates)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        cost = self._cost if isinstance(self._cost, int) else self._cost(scope)
        try:
            decision = await self._limiter.acquire(self._key(scope), cost)
        except BackendError as error:
            await _turn_away(scope, send, problem_of(error), [])
            return
        fields = self._fields(scope, decision)
        if decision.allowed:
            await self._app(scope, receive, _with_fields(send, fields) if scope["type"] == "http" else send)
        else:
            await _turn_away(scope, send, self._problem(decision), fields)

    def _fields(self, scope: Scope, decision: Decided) -> Headers:
        part: Parameters = {} if self._partition is None else {"pk": self._partition(scope)}
        standings: Sequence[Standing] = getattr(decision, "standings", ())
        if standings and not self._policies:
            return self._fields_of_periods(standings, part)
        shown = self._policies or [_Policy(self._limiter.name, None, decision.rate)]
        policy = [(each.name, {**_quota(each.rate), **part}) for each in shown]
        binding = (each.name for each in shown if each.binds(decision))
        return self._shown(policy, [(next(binding, self._limiter.name), {**_left(decision), **part})])

    def _fields_of_periods(self, standings: Sequence[Standing], part: Parameters) -> Headers:
        names = [f"{self._limiter.name}-{standing.period}" for standing in standings]
        policy = [(name, {**_quota(standing), **part}) for name, standing in zip(names, standings, strict=True)]
        left = [(name, {**_left(standing), **part}) for name, standing in zip(names, standings, strict=True)]
        return self._shown(policy, left)

    def _shown(self, policy: Sequence[tuple[str, Parameters]], standing: Sequence[tuple[str, Parameters]]) -> Headers:
        return [
            (b"ratelimit-policy", self._written(policy).encode()),
            (b"ratelimit", self._written(standing).encode()),
        ]

    def _problem(self, decision: Decided) -> Problem:
        refused = problem_of(RateLimited(self._limiter.name, retry_after_s=decision.retry_after_s))
        assert refused is not None
        return dataclasses.replace(refused, more={"violated-policies": [self._limiter.name]})


def _left(standing: Decided | Standing) -> Parameters:
    return {"r": standing.remaining, "t": math.ceil(standing.reset_after_s)}


def _quota(rate: Allowance) -> Parameters:
    window_s = math.ceil(rate.limit * rate.period_s / rate.count)
    return {"q": max(rate.limit, math.floor(rate.count * window_s / rate.period_s)), "w": window_s}


def _with_fields(send: Send, fields: Headers) -> Send:
    async def send_more(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *fields]}
        await send(message)

    return send_more


async def _turn_away(scope: Scope, send: Send, problem: Problem | None, fields: Headers) -> None:
    assert problem is not None
    if scope["type"] == "http":
        await send_problem(send, problem, fields)
    else:
        # Closed before it was accepted: the server answers the handshake with 403.
        await send({"type": "websocket.close", "code": 1013, "reason": problem.detail})
