"""Rate limits in front of an application: 429 with the standard fields, before the application sees the request.

The fields are those of `sdpatterns.web.ratelimit`.

Source: draft-ietf-httpapi-ratelimit-headers; RFC 6585 (429); RFC 9110 (Retry-After).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeAlias

from sdpatterns.core.asking import asked
from sdpatterns.core.judging import answering, callable_of
from sdpatterns.errors import BackendError
from sdpatterns.web.asgi.protocol import (
    ASGIApp,
    Headers,
    Message,
    Receive,
    Scope,
    Send,
    awaitable_part,
    by_header,
    client_address,
    send_problem,
)
from sdpatterns.web.problems import Problem, problem_of
from sdpatterns.web.ratelimit import Decided, RateLimitFields, Shown, refusal_of

__all__ = ["Limiter", "RateLimitMiddleware", "by_header"]

Key: TypeAlias = str | Mapping[str, str]
"""A key, or one for each scope of a limiter that has several."""


class Limiter(Protocol):
    """What the middleware asks of a limiter; `RateLimiter` is one, and `Quota`, whose decisions have
    `standings` besides. Its keys are what the middleware's `key` gives.
    """

    name: str

    async def acquire(self, key: Any, /, cost: int = 1) -> Decided:
        """Decide without waiting."""
        ...


class RateLimitMiddleware:
    """Limits HTTP requests and WebSocket handshakes: asks `limiter` before each of them.

    `key` gives the key of a request from its scope (default: the client's address), such as
    `by_header("x-api-key")`, or one for each scope of a limiter with several; `cost` gives what it costs. Both
    may be async, as one that looks up a tenant. A request that `exempt` names, or whose key is None, passes
    without a limit: health checks, or a browser's preflight
    (`lambda scope: scope.get("method") == "OPTIONS"`). `partition`, if given, is the public
    name of the key, for the parameter `pk`. `rates` are the ones that RateLimit-Policy shows, in the
    form in which the limiter got them, so by scope where it has scopes; by default the one that binds.
    A rate's quota is what it lets pass at once, its window the time in which that much comes back.

    A refused WebSocket gets the same answer where the server can send one (`websocket.http.response`), else
    it is closed before it was accepted, which a server answers with 403.

    **Keeps**: a refused request never reaches the application; every HTTP answer says where its
    client stands. **May fail**: a limiter that raises because its store is away gets a 503.
    **Costs** one decision per request.
    """

    def __init__(
        self,
        app: ASGIApp,
        limiter: Limiter,
        *,
        key: Callable[[Scope], Key | Awaitable[Key | None] | None] = client_address,
        cost: int | Callable[[Scope], int | Awaitable[int]] = 1,
        exempt: Callable[[Scope], bool] | None = None,
        rates: Shown = (),
        partition: Callable[[Scope], bytes] | None = None,
    ) -> None:
        self._app = app
        self._limiter = awaitable_part(limiter)
        self._key = callable_of("key", key)
        self._cost = cost if isinstance(cost, int) else callable_of("cost", cost)
        self._exempt = None if exempt is None else answering("exempt", exempt)
        self._partition = None if partition is None else answering("partition", partition)
        self._shown = RateLimitFields(limiter.name, rates)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        key = None
        if self._exempt is None or not self._exempt(scope):
            key = await asked(self._key(scope))
        if key is None:
            await self._app(scope, receive, send)
            return
        cost = self._cost if isinstance(self._cost, int) else await asked(self._cost(scope))
        try:
            decision = await self._limiter.acquire(key, cost)
        except BackendError as error:
            await _turn_away(scope, send, problem_of(error), [])
            return
        fields = self._fields(scope, decision)
        if decision.allowed:
            await self._app(scope, receive, _with_fields(send, fields) if scope["type"] == "http" else send)
        else:
            await _turn_away(scope, send, refusal_of(self._limiter.name, decision), fields)

    def _fields(self, scope: Scope, decision: Decided) -> Headers:
        partition = None if self._partition is None else self._partition(scope)
        shown = self._shown.of(decision, partition=partition)
        return [
            (b"ratelimit-policy", shown["RateLimit-Policy"].encode()),
            (b"ratelimit", shown["RateLimit"].encode()),
        ]


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
    elif "websocket.http.response" in (scope.get("extensions") or {}):
        await send_problem(_instead_of_a_socket(send), problem, fields)
    else:
        # Closed before it was accepted: the server answers the handshake with 403.
        await send({"type": "websocket.close", "code": 1013, "reason": problem.detail})


def _instead_of_a_socket(send: Send) -> Send:
    async def send_in_kind(message: Message) -> None:
        await send({**message, "type": f"websocket.{message['type']}"})

    return send_in_kind
