"""The sellers' own systems, at one address: they check who sends them an order before they read it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from zlib import crc32

from starlette.requests import Request
from starlette.types import ASGIApp

from shop.bodies import read_body
from shop.fulfilment.signing import keys_of, verified
from shop.outsiders.api import outsider_running
from shop.outsiders.service import Outsider
from shop.problems import Problem
from shop.settings import Settings
from shop.validation import Fields


def known_to(seller: str, keys: Sequence[bytes]) -> bytes:
    """The one key that a seller knows: half of them have not changed to the newest yet."""
    return keys[crc32(seller.encode()) % len(keys)]


def running(settings: Settings) -> AbstractAsyncContextManager[ASGIApp]:
    """The sellers."""
    keys = keys_of(settings.seed)

    async def take(outsider: Outsider, key: str, request: Request) -> int:
        body, seller = await read_body(request), request.headers.get("x-seller", "")
        if not verified(request.headers, body, [known_to(seller, keys)], outsider.now_us()):
            raise Problem(401, "signature", "The signature does not fit.")
        message = json.loads(body)
        fields = Fields(message)
        order_id = fields.slug("order_id")
        fields.done()
        skus = [str(item["sku"]) for item in message["items"]]
        return await outsider.take(key, order_id, seller, ", ".join(skus), skus)

    return outsider_running(settings, "sellers", "orders", take)
