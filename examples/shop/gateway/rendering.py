"""How a page is made: templates, static files by their fingerprint, the headers that keep strangers out."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from shop.catalog.domain import categories, makers, workshop
from shop.gateway.art import emblem, picture, stars
from shop.gateway.domain import clock, day, money, status_words, step_words
from shop.problems import answer, as_problem

_HERE = Path(__file__).parent
_STATIC = _HERE / "static"
_FOR_PROGRAMS = ("/api/", "/psp/", "/control", "/livez", "/readyz", "/metrics")
_FOREVER = "public, max-age=31536000, immutable"
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
_FINGERPRINTS = {
    path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in _STATIC.iterdir() if path.is_file()
}


def static(name: str) -> str:
    """The address of a static file, which changes with what is in it."""
    return f"/static/{_FINGERPRINTS[name]}/{name}"


class Statics(StaticFiles):
    """Static files; whoever asks by fingerprint may keep the answer for good, others ask again each time."""

    def __init__(self) -> None:
        super().__init__(directory=_STATIC)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, without its fingerprint."""
        fingerprint, _, name = path.partition("/")
        known = name in _FINGERPRINTS and _FINGERPRINTS[name] == fingerprint
        response = await super().get_response(name if known else path, scope)
        response.headers["Cache-Control"] = _FOREVER if known else "no-cache"
        return response


def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        money=money, status_words=status_words, step_words=step_words, clock=clock, day=day, stars=stars
    )
    environment.globals.update(
        categories=categories(), makers=makers(), workshop=workshop, picture=picture, emblem=emblem, static=static
    )
    return environment


_ENVIRONMENT = _templates()


def render(template: str, status: int = 200, **values: Any) -> Response:
    """A page."""
    text = _ENVIRONMENT.get_template(template).render(**{"query": "", "pieces": None, **values})
    return HTMLResponse(text, status, {**SECURITY_HEADERS, "Cache-Control": "no-store"})


def answer_in_kind(request: Request, error: Exception) -> Response:
    """A refusal as a page for a browser that asked for one, else as a problem document."""
    response = answer(request, error)
    path = request.url.path
    if path.startswith(_FOR_PROGRAMS) or "text/html" not in request.headers.get("accept", ""):
        return response
    page = render("problem.html", response.status_code, problem=as_problem(error))
    if "retry-after" in response.headers:
        page.headers["Retry-After"] = response.headers["retry-after"]
    return page
