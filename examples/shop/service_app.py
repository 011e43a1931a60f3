"""What every service has besides its own work: health, figures, a pulse, a place in the trace, problems for errors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from sqlalchemy import select
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sdpatterns import listen
from sdpatterns.core.notices import Notice
from sdpatterns.observability.prometheus import PrometheusListener, ResourceCollector
from sdpatterns.observability.resources import Resource
from sdpatterns.web.asgi.metrics import MetricsMiddleware
from sdpatterns.web.asgi.protocol import ASGIApp, Receive, Scope, Send
from sdpatterns.web.asgi.tracing import TracingMiddleware
from shop.access import HostCheckMiddleware
from shop.database import Database
from shop.declared import DECLARED
from shop.problems import HANDLED, Problem, UnexpectedMiddleware, answer
from shop.serving import LEAVING
from shop.stage.faults import FaultInjector, FaultMiddleware, fault_route
from shop.stage.log_lines import RequestLogMiddleware
from shop.stage.log_lines import routes as log_routes
from shop.stage.pulse import Pulse
from shop.stage.switches import Switch, positions
from shop.stage.switches import routes as switch_routes
from shop.stage.traces import CALLS, PROCESS
from shop.stage.traces import routes as trace_routes
from shop.stage.whole_view import WholeView


def trust_all(_scope: Scope) -> bool:
    """Trust in all callers, for services that only the shop itself can reach."""
    return True


def trust_none(_scope: Scope) -> bool:
    """Trust in no caller, for ports that unknown clients can reach."""
    return False


@contextmanager
def service_app(
    name: str,
    routes: Sequence[BaseRoute],
    *,
    parts: Collection[str] = (),
    database: Database | None = None,
    middleware: Sequence[Middleware] = (),
    switches: Sequence[Switch] = (),
    accepts_faults: bool = True,
    injector: FaultInjector | None = None,
    trusts: Callable[[Scope], bool] = trust_all,
    check_host_below: str = "/",
    own_host: str = "",
    deadline_default_s: float | None = None,
    resources: Sequence[Resource] = (),
    on_error: Callable[[Request, Exception], Response] = answer,
) -> Iterator[Starlette]:
    """An ASGI app for a context; its figures count its requests and what its `parts` of the library tell.

    `switches` are those of its defences. One that is `accepts_faults` can be given a fault from
    outside; with `injector` of its own it acts them out itself. What lies below `check_host_below` is
    answered under the shop's own names alone: those of the local network, and `own_host`.
    `resources` are read at each scrape.
    """
    registry, count = _counting(name, resources)
    counted = {name, *parts}
    pulse = Pulse(name, frozenset(parts))
    injector = injector or FaultInjector()

    def hear(notice: Notice) -> None:
        if notice.name in counted:
            count(notice)
            pulse(notice)

    live = JSONResponse({"service": name, "status": "live"})
    around = [
        Middleware(LiveMiddleware, live=live),
        Middleware(TracingMiddleware, trusts=trusts, deadline_default_s=deadline_default_s, service=name),
        Middleware(RequestLogMiddleware, name=name),
        Middleware(MetricsMiddleware, name=name),
        Middleware(UnexpectedMiddleware, on_error=on_error),
        Middleware(HostCheckMiddleware, below=check_host_below, own_host=own_host),
        *([Middleware(FaultMiddleware, injector=injector)] if accepts_faults else []),
        *middleware,
    ]
    inside = [
        Route("/livez", lambda _request: live),  # for methods that a probe does not use
        *_health(name, registry, database),
        *switch_routes(switches),
        *trace_routes(),
        *log_routes(),
        *([fault_route(name, injector)] if accepts_faults else []),
        *WholeView(_all_of(pulse, switches, injector), routes, database).routes(),
    ]
    handlers = dict.fromkeys(HANDLED, on_error)
    with listen(hear):
        yield Starlette(routes=[*inside, *routes], exception_handlers=handlers, middleware=around)


def _counting(name: str, resources: Sequence[Resource]) -> tuple[CollectorRegistry, PrometheusListener]:
    registry = CollectorRegistry()
    registry.register(ResourceCollector(resources))
    count = PrometheusListener(registry)
    count.declare(*DECLARED.get(name, ()))
    return registry, count


class LiveMiddleware:
    """Answers `/livez` before anything else does.

    A probe asks whether this process answers. A limit, a fault or a trace must not decide that, and a probe
    that comes every second is no traffic to be counted.
    """

    def __init__(self, app: ASGIApp, live: Response) -> None:
        self._app = app
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        is_probe = scope["type"] == "http" and scope["path"] == "/livez" and scope["method"] in {"GET", "HEAD"}
        await (self._live if is_probe else self._app)(scope, receive, send)


def _health(name: str, registry: CollectorRegistry, database: Database | None) -> list[BaseRoute]:
    async def ready(request: Request) -> Response:
        leaving = getattr(request.state, LEAVING, None)
        if leaving is not None and leaving.is_set():
            raise Problem(503, "not-ready", "This replica is about to end.", retry_after_s=1)
        if database is not None:
            await _touch(database)
        return JSONResponse({"service": name, "status": "ready"})

    async def metrics(request: Request) -> Response:
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"Content-Type": media_type})

    return [Route("/readyz", ready), Route("/metrics", metrics)]


def _all_of(pulse: Pulse, switches: Sequence[Switch], injector: FaultInjector) -> Callable[[], dict[str, Any]]:
    return lambda: {
        **pulse.view(),
        "switches": positions(switches),
        "fault": injector.view(),
        "process": PROCESS,
        "traced": CALLS.of(pulse.name),
    }


async def _touch(database: Database) -> None:
    try:
        await database.rows(select(1))
    except Exception as error:
        raise Problem(503, "not-ready", "The database cannot be read.", retry_after_s=1) from error
