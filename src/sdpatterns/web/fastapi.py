"""Rate limits on FastAPI endpoints, problem details for what the patterns raise, and requests observed.

```
app = FastAPI()
answer_problems(app)                   # RateLimited is a 429, CircuitIsOpen a 503, each with Retry-After
observe_requests(app, name="shop")     # a span and a RequestFinished for each request

@app.get("/search", dependencies=[limited(RateLimiter("search", per_minute(3)))])
async def search(): ...
```

A limit for all requests of an app is the middleware `sdpatterns.web.asgi.ratelimit.RateLimitMiddleware`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sdpatterns.core.asking import asked
from sdpatterns.core.judging import callable_of
from sdpatterns.errors import BackendError, SdpatternsError
from sdpatterns.web.asgi.metrics import MetricsMiddleware
from sdpatterns.web.asgi.protocol import Scope, awaitable_part, by_header, client_address
from sdpatterns.web.asgi.ratelimit import Key, Limiter
from sdpatterns.web.asgi.tracing import TracingMiddleware
from sdpatterns.web.problems import Problem, problem_of
from sdpatterns.web.ratelimit import RateLimitFields, Shown, refusal_of

try:
    from fastapi import Depends, FastAPI, HTTPException, Request, Response
except ImportError as missing:
    raise ImportError("sdpatterns.web.fastapi needs FastAPI: pip install fastapi") from missing

__all__ = ["answer_problems", "by_header", "limited", "observe_requests"]


def limited(
    limiter: Limiter,
    *,
    key: Callable[[Scope], Key | Awaitable[Key | None] | None] = client_address,
    cost: int = 1,
    rates: Shown = (),
) -> Any:
    """A dependency that limits one endpoint or router: `dependencies=[limited(limiter)]`.

    `key` gives the key of a request from its scope (default: the client's address), such as
    `by_header("x-api-key")`; it may be async. A request whose key is None passes without a limit. `cost` is what
    a request costs. `rates` are the ones that RateLimit-Policy shows, as for `RateLimitMiddleware`.

    **Keeps**: a refused request never reaches the endpoint; it gets a 429 with Retry-After. Answers that FastAPI
    makes have the RateLimit fields; one that the endpoint builds itself has not. **May fail**: a limiter that
    raises because its store is away gives a 503. **Costs** one decision for each request.
    """
    key_of = callable_of("key", key)
    decides, shown = awaitable_part(limiter), RateLimitFields(limiter.name, rates)

    async def limit(request: Request, response: Response) -> None:
        found = await asked(key_of(request.scope))
        if found is None:
            return
        try:
            decision = await decides.acquire(found, cost)
        except BackendError as error:
            raise _refused(problem_of(error), {}) from error
        fields = shown.of(decision)
        if not decision.allowed:
            raise _refused(refusal_of(limiter.name, decision), fields)
        for field, value in fields.items():
            response.headers.append(field, value)

    return Depends(limit)


def answer_problems(app: FastAPI) -> None:
    """Answer the exceptions of this package with problem details: 429, 503 and others, with Retry-After.

    The status of each exception is the one that `sdpatterns.web.problems.problem_of` gives; 500 for one that
    has none. What `limited` refuses is a `fastapi.HTTPException`, so that it needs no handler.
    """

    async def answer(_request: Request, error: Exception) -> Response:
        problem = problem_of(error) or Problem(status=500)
        return Response(problem.body(), problem.status, problem.text_headers())

    app.add_exception_handler(SdpatternsError, answer)


def observe_requests(app: FastAPI, *, name: str) -> None:
    """Make a span of each request of the app, and emit a `RequestFinished` that has `name`.

    Call it after you have added other middleware: it adds `MetricsMiddleware` and around it `TracingMiddleware`,
    which stand outside whatever was added before. What hears and keeps them is what `sdpatterns.observe` turned on.

    **May fail** with RuntimeError when the app has started. **Costs** what the two cost.
    """
    app.add_middleware(MetricsMiddleware, name=name)
    app.add_middleware(TracingMiddleware)


def _refused(problem: Problem | None, fields: Mapping[str, str]) -> HTTPException:
    assert problem is not None
    given = {name: value for name, value in problem.text_headers().items() if name != "content-type"}
    return HTTPException(problem.status, problem.detail, {**given, **fields})
