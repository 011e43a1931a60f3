"""The control room as a stream of events: the whole state once a second, the answers of the moment in between."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from shop.background import happens
from shop.serving import ENDING
from shop.stage.control.service import Control

LIVE_S = 30.0  # the browser connects again by itself; a gateway that drains must not wait for it
_DOTS_S = 0.5
_TURNS_PER_STATE = 2
_DOTS_MAX = 400
_RESTS_MAX_S = 5.0  # a gateway that hears nothing for long hangs up
_RESTS = 1.0  # as long as it looked: on a slow machine an open page leaves the shop half of the time for its visitors


class EventStream:
    """Streams for all open pages; what they show was looked up once for all of them."""

    def __init__(self, control: Control) -> None:
        self._control = control

    async def stream(self, request: Request) -> Response:
        """Server-sent events, ended after `LIVE_S` or with the server; to a HEAD what would stand before them."""
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        if request.method == "HEAD":  # events that are not read would block the connection for the next request
            return Response(media_type="text/event-stream", headers=headers)
        ending = request.scope["state"][ENDING]
        return StreamingResponse(self._events(ending), media_type="text/event-stream", headers=headers)

    async def _events(self, ending: asyncio.Event) -> AsyncIterator[bytes]:
        ends_s = time.monotonic() + LIVE_S
        seen, turn = self._control.feed.newest, 0
        yield b"retry: 1000\n\n"
        while time.monotonic() < ends_s and not ending.is_set():
            began_s = time.monotonic()
            if turn % _TURNS_PER_STATE == 0:
                yield _event("state", await self._control.state(age_max_s=0.8, patience_s=1.0))
            else:
                await self._control.feed.pull()
            dots = self._control.feed.after(seen)
            seen = self._control.feed.newest
            if dots:
                lanes = self._control.feed.history.lanes(self._control.now_us())
                yield _event("dots", {"dots": [answer.dot() for answer in dots[-_DOTS_MAX:]], "lanes": lanes})
            turn += 1
            took_s = time.monotonic() - began_s
            await happens(ending, max(min(_RESTS * took_s, _RESTS_MAX_S), _DOTS_S - took_s))


def _event(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
