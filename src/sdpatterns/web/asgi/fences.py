"""Refuse the requests of a client that has lost its lease to another one.

| the request | gets |
|---|---|
| Fencing-Token as large as the largest that the resource has seen, or larger | the application's answer |
| a smaller one | 412 |
| none, where one is required | 428 |
| one that is no number, or two | 400 |

`sdpatterns.web.fences` describes the header, and has what a client needs.

Source: RFC 9110, 15.5.13 (412); RFC 6585, 3 (428); Kleppmann, "How to do distributed locking" (2016).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from sdpatterns.coordination.lease.register import FenceRegister
from sdpatterns.core.asking import asked
from sdpatterns.core.judging import answering, callable_of
from sdpatterns.errors import BackendError, StaleFence
from sdpatterns.web.asgi.protocol import ASGIApp, Receive, Scope, Send, awaitable_part, header_values, send_problem
from sdpatterns.web.fences import HEADER, MALFORMED, MISSING, fence_of
from sdpatterns.web.problems import Problem, problem_of

__all__ = ["FenceMiddleware", "Resource", "changes", "path_of"]

Resource: TypeAlias = Callable[[Scope], Awaitable[str | None] | str | None]
"""The name of what a request is about; None where it needs no lease."""

_LOWER = HEADER.lower().encode()
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "QUERY"})


def path_of(scope: Scope) -> str:
    """The path of a request, a slash at its end aside."""
    path: str = scope["path"]
    return path.rstrip("/")


def changes(scope: Scope) -> bool:
    """Whether the method is one that may change something."""
    return scope["method"] not in _SAFE


class FenceMiddleware:
    """Asks `register` before each HTTP request, and raises the fence of the resource on reads and on writes.

    `resource` gives what the request is about (default: its path, a slash at the end aside); it may be async. A request
    for which it gives None passes. `required` refuses requests without the header, all of them or those for which it
    says so (default: all but GET, HEAD, OPTIONS, TRACE and QUERY, so that clients without a lease may read).

    **Keeps**: once a request with a fence has passed, none with a smaller one reaches the application. A request that
    has passed may still be late if this process stops before it writes: let the write compare too (`FencedRows`),
    where it can. **May fail**: 503 while the store is away. **Costs** one step on the store for each request with the
    header.
    """

    def __init__(
        self,
        app: ASGIApp,
        register: FenceRegister,
        *,
        resource: Resource = path_of,
        required: bool | Callable[[Scope], bool] = changes,
    ) -> None:
        self._app = app
        self._register = awaitable_part(register)
        self._resource = callable_of("resource", resource)
        self._required = required if isinstance(required, bool) else answering("required", required)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        resource = await asked(self._resource(scope)) if scope["type"] == "http" else None
        problem = None if resource is None else await self._refusal(scope, resource)
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await send_problem(send, problem)

    async def _refusal(self, scope: Scope, resource: str) -> Problem | None:
        values = header_values(scope, _LOWER)
        if not values:
            is_required = self._required if isinstance(self._required, bool) else self._required(scope)
            return MISSING if is_required else None
        try:
            fence = fence_of(values)
        except ValueError:
            return MALFORMED
        try:
            await self._register.check(resource, fence)
        except (StaleFence, BackendError) as error:
            return problem_of(error)
        return None
