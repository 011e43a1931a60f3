"""Who is visiting: the cart's cookie, and forms that come from our own pages."""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from shop.bodies import read_form
from shop.problems import Problem
from shop.validation import is_slug

_COOKIE = "cart"
_KEPT_S = 30 * 24 * 3600


def cart_of(request: Request) -> str:
    """The visitor's cart, or nothing for one who has none yet."""
    cart_id = request.cookies.get(_COOKIE, "")
    return cart_id if is_slug(cart_id) else ""


def new_cart() -> str:
    """A random cart id that cannot be guessed."""
    return secrets.token_urlsafe(18).replace("-", "a").replace("_", "b")


def remember(response: Response, cart_id: str) -> None:
    """Let the visitor keep the cart."""
    response.set_cookie(_COOKIE, cart_id, max_age=_KEPT_S, httponly=True, samesite="lax")


async def own_form(request: Request) -> dict[str, str]:
    """A form sent from one of our own pages."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin", "null")
    if site not in ("same-origin", "none") or (origin != "null" and _host(origin) != request.headers.get("host")):
        raise Problem(403, "foreign-form", "This form was not sent from a page of the shop.")
    return await read_form(request)


def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
