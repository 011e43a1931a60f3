"""Rate limits on Flask views, and problem details for what the patterns raise.

```
app = Flask("shop")
answer_problems(app)                   # RateLimited is a 429, CircuitIsOpen a 503, each with Retry-After

@app.get("/search")
@limited(RateLimiter("search", per_minute(3)))
def search(): ...
```
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol
from wsgiref.types import WSGIEnvironment

from sdpatterns.core.judging import answering
from sdpatterns.core.runtime import finish
from sdpatterns.errors import BackendError, SdpatternsError
from sdpatterns.web.asgi.protocol import awaitable_part
from sdpatterns.web.asgi.ratelimit import Key, Limiter
from sdpatterns.web.problems import Problem, problem_of
from sdpatterns.web.ratelimit import RateLimitFields, Shown, refusal_of
from sdpatterns.web.wsgi.door import needing_no_loop
from sdpatterns.web.wsgi.environ import by_header as environ_by_header

try:
    from flask import Blueprint, Flask, Response, current_app, make_response, request
except ImportError as missing:
    raise ImportError("sdpatterns.web.flask needs Flask: pip install flask") from missing

__all__ = ["answer_problems", "by_header", "client_address", "limited"]

P = ParamSpec("P")


def client_address() -> str:
    """The address of the client of the current request. Behind a proxy: use Werkzeug's `ProxyFix`."""
    return request.remote_addr or "unknown"


class _ByHeader(Protocol):
    def __call__(self, environ: WSGIEnvironment | None = None, /) -> str: ...


def by_header(name: str) -> _ByHeader:
    """A key function: the value of this header of the current request, such as `x-api-key`.

    It serves the WSGI middleware of this package too, which gives it the environ. Requests without the header share
    the key "". Raises `ValueError` for what cannot be the name of a header.
    """
    of_environ = environ_by_header(name)
    return lambda environ=None: of_environ(request.environ if environ is None else environ)


def limited(
    limiter: Limiter,
    *,
    key: Callable[[], Key | None] = client_address,
    cost: int | Callable[[], int] = 1,
    rates: Shown = (),
) -> Callable[[Callable[P, Any]], Callable[P, Response]]:
    """A decorator that limits one view: `@limited(limiter)` below the route.

    `key` gives the key of the current request (default: the client's address), such as `by_header("x-api-key")`; a
    request whose key is None passes without a limit. `cost` is what a request costs. `rates` are the ones that
    RateLimit-Policy shows, as for `RateLimitMiddleware`.

    **Keeps**: a refused request never reaches the view; every answer has the RateLimit fields. **May fail** with
    TypeError for a limiter whose store needs an event loop; a limiter that raises because its store is away gives
    a 503. **Costs** one decision for each request.
    """
    asked = needing_no_loop(awaitable_part(limiter))
    key_of, shown = _answering("key", key), RateLimitFields(limiter.name, rates)
    cost_of = cost if isinstance(cost, int) else _answering("cost", cost)

    def decorate(view: Callable[P, Any]) -> Callable[P, Response]:
        @functools.wraps(view)
        def limit(*args: P.args, **kwargs: P.kwargs) -> Response:
            found = key_of()
            if found is None:
                return make_response(current_app.ensure_sync(view)(*args, **kwargs))
            try:
                decision = finish(asked.acquire(found, cost_of if isinstance(cost_of, int) else cost_of()))
            except BackendError as error:
                return _response_of(error)
            if decision.allowed:
                answer = make_response(current_app.ensure_sync(view)(*args, **kwargs))
            else:
                answer = _problem_response(refusal_of(limiter.name, decision))
            for field, value in shown.of(decision).items():
                answer.headers.add(field, value)
            return answer

        return limit

    return decorate


def answer_problems(app: Flask | Blueprint) -> None:
    """Answer the exceptions of this package with problem details: 429, 503 and others, with Retry-After.

    Register it once, on the app or on a blueprint. The status of each exception is the one that
    `sdpatterns.web.problems.problem_of` gives; 500 for one that has none.
    """
    app.register_error_handler(SdpatternsError, _response_of)


def _response_of(error: Exception) -> Response:
    return _problem_response(problem_of(error) or Problem(status=500))


def _problem_response(problem: Problem) -> Response:
    return Response(problem.body(), problem.status, problem.text_headers())


def _answering(field: str, function: Callable[[], Any]) -> Callable[[], Any]:
    answering(field, function)

    @functools.wraps(function)
    def about(_request: object) -> Any:
        return function()

    checked = answering(field, about)
    return lambda: checked(request)
