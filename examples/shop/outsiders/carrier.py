"""The carrier: slow when all is well, and slower with a fault."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from starlette.requests import Request
from starlette.types import ASGIApp

from shop.bodies import read_json
from shop.outsiders.api import outsider_running
from shop.outsiders.service import Outsider
from shop.settings import Settings
from shop.validation import Fields

TAKES_S = 0.4


async def _take(outsider: Outsider, key: str, request: Request) -> int:
    fields = Fields(await read_json(request))
    order_id, country = fields.slug("order_id"), fields.text("country", length_max=2)
    pieces = fields.whole("pieces", 1, 10**6)
    fields.done()
    return await outsider.take(key, order_id, country, f"{pieces} pieces")


def running(settings: Settings) -> AbstractAsyncContextManager[ASGIApp]:
    """The carrier."""
    return outsider_running(settings, "carrier", "bookings", _take, takes_s=TAKES_S)
