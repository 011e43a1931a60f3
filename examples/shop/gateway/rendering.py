"""How a page is made: templates, static files by their fingerprint, the headers that keep other sites out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shop.catalog.domain import categories, makers, workshop
from shop.gateway.domain import clock, day, money, products_words, ships_by, status_words, step_words
from shop.gateway.pictures import emblem, picture, stars
from shop.headers import SECURITY_HEADERS
from shop.problems import Problem, answer, as_problem

_HERE = Path(__file__).parent
_STATIC = _HERE / "static"
_FOR_PROGRAMS = ("/api/", "/psp/", "/control", "/livez", "/readyz", "/metrics")
_TOO_QUICK = "You sent more requests than one visitor may send in this time."
_FOREVER = "public, max-age=31536000, immutable"
_FINGERPRINTS = {
    path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in _STATIC.iterdir() if path.is_file()
}


def static(name: str) -> str:
    """The address of a static file, which changes with what is in it."""
    return f"/static/{_FINGERPRINTS[name]}/{name}"


class Statics(StaticFiles):
    """Static files: cached for good if requested by fingerprint, else checked again each time."""

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
        money=money,
        status_words=status_words,
        step_words=step_words,
        products_words=products_words,
        clock=clock,
        day=day,
        ships_by=ships_by,
        stars=stars,
    )
    environment.globals.update(
        categories=categories(), makers=makers(), workshop=workshop, picture=picture, emblem=emblem, static=static
    )
    for name in environment.list_templates():
        environment.get_template(name)  # compiled before the shop opens, not while the first visitor waits
    return environment


_ENVIRONMENT = _templates()


def render(template: str, status: int = 200, **values: Any) -> Response:
    """A page."""
    text = _ENVIRONMENT.get_template(template).render(**{"query": "", "pieces": None, **values})
    return HTMLResponse(text, status, {**SECURITY_HEADERS, "Cache-Control": "no-store"})


def negotiated_error(request: Request, error: Exception) -> Response:
    """A refusal as a page for a browser that asked for one, else as a problem document."""
    response = answer(request, error)
    if not _for_a_person(request):
        return response
    page = render("problem.html", response.status_code, problem=as_problem(error))
    if "retry-after" in response.headers:
        page.headers["Retry-After"] = response.headers["retry-after"]
    return page


def _for_a_person(request: Request) -> bool:
    path = request.scope["path"]
    is_page = path == "/control" or not path.startswith(_FOR_PROGRAMS)
    return is_page and "text/html" in request.headers.get("accept", "")


class NegotiatedErrorsMiddleware:
    """Turns the refusals of those who stand before the routes, such as the limiter's, into pages too.

    Keeps: the status and all headers of the refusal but those that tell of its body.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or not _for_a_person(Request(scope)):
            await self._app(scope, receive, send)
            return
        refusal: Message | None = None

        async def send_in_kind(message: Message) -> None:
            nonlocal refusal
            if message["type"] == "http.response.start" and _is_problem(message):
                refusal = message
            elif refusal is not None:
                await _page_of(refusal, message["body"])(scope, receive, send)
            else:
                await send(message)

        await self._app(scope, receive, send_in_kind)


def _is_problem(start: Message) -> bool:
    return (b"content-type", b"application/problem+json") in [(name.lower(), value) for name, value in start["headers"]]


def _page_of(start: Message, body: bytes) -> Response:
    status: int = start["status"]
    detail = _TOO_QUICK if status == 429 else json.loads(body)["detail"]
    page = render("problem.html", status, problem=Problem(status, "refused", detail, retry_after_s=1))
    about_the_body = (b"content-type", b"content-length")
    page.raw_headers += [(name, value) for name, value in start["headers"] if name.lower() not in about_the_body]
    return page
