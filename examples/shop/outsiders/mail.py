"""The mail server of another company: it sends nothing, and keeps what it was given."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from starlette.requests import Request
from starlette.types import ASGIApp

from shop.bodies import read_json
from shop.outsiders.api import outsider_running
from shop.outsiders.domain import masked
from shop.outsiders.service import Outsider
from shop.settings import Settings
from shop.validation import Fields


async def _take(outsider: Outsider, key: str, request: Request) -> int:
    fields = Fields(await read_json(request))
    order_id, to = fields.slug("order_id"), fields.text("to", length_max=254)
    subject = fields.text("subject", length_max=200)
    fields.text("text", length_max=10_000)
    fields.done()
    return await outsider.take(key, order_id, masked(to), subject)


def running(settings: Settings) -> AbstractAsyncContextManager[ASGIApp]:
    """The mail server."""
    return outsider_running(settings, "mail", "messages", _take)
