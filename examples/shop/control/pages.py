"""The control room's page: rendered once, then kept up to date by its script."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from shop.control.service import Control

_HERE = Path(__file__).parent
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
_ENVIRONMENT = Environment(
    loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


def pages(control: Control) -> list[BaseRoute]:
    """The routes of the page."""

    def render(template: str, state: object) -> Response:
        text = _ENVIRONMENT.get_template(template).render(state=state)
        return HTMLResponse(text, headers={**SECURITY_HEADERS, "Cache-Control": "no-store"})

    async def room(_request: Request) -> Response:
        return render("control.html", await control.state())

    async def live(_request: Request) -> Response:
        return render("live.html", await control.state())

    return [
        Route("/control", room),
        Route("/control/live", live),
        Mount("/control/static", StaticFiles(directory=_HERE / "static")),
    ]
