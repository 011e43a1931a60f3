"""The game day that the control room holds: one at a time, from a file that a user sends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shop.bodies import read_json
from shop.problems import Problem
from shop.stage.gameday.game_day import GameDay
from shop.validation import FieldError, InvalidInput

_log = logging.getLogger("shop.control")
TEXT_CHARS_MAX = 20_000


class GameDays:
    """Holds game days through the public port, as any client could.

    Keeps: one at a time, and none beside a scenario, whose faults would be its own; one that is stopped puts
    everything back.
    """

    def __init__(self, url: str, is_playing: Callable[[], bool]) -> None:
        self._url = url
        self._is_playing = is_playing
        self._last: GameDay | None = None
        self._holding: asyncio.Task[None] | None = None

    def begin(self, text: str) -> None:
        """Hold the game day that a file describes; 409 while another one, or a scenario, is under way."""
        # The models of the format take a tenth of a second to load, and hardly any shop holds a game day.
        from shop.stage.gameday.experiment import parse

        experiment = parse(text)
        if self.is_holding or self._is_playing():
            raise Problem(409, "game-day-running", "A game day or a scenario is under way; stop it first.")
        self._last = GameDay(experiment, self._url)
        self._holding = asyncio.create_task(self._to_the_end(self._last))

    @property
    def is_holding(self) -> bool:
        """Whether one is under way."""
        return self._holding is not None and not self._holding.done()

    async def _to_the_end(self, game_day: GameDay) -> None:
        try:
            await game_day.run()
        except Exception:  # noqa: BLE001 - whatever it was, the shop goes on
            _log.exception("game day %s failed", game_day.experiment.name)

    async def stop(self) -> None:
        """Stop what is held, and wait until everything is put back."""
        if self._holding is not None and not self._holding.done():
            self._holding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._holding

    def view(self) -> dict[str, Any] | None:
        """The record of the last one, as far as it is; None before the first."""
        return None if self._last is None else self._last.view()

    def routes(self) -> list[Route]:
        """The game day over HTTP."""

        async def seen(_request: Request) -> Response:
            return JSONResponse({"game_day": self.view()})

        async def begin(request: Request) -> Response:
            self.begin(_text_of(await read_json(request)))
            return JSONResponse({"game_day": self.view()}, 202)

        async def stop(_request: Request) -> Response:
            await self.stop()
            return JSONResponse({"game_day": self.view()})

        return [
            Route("/control/api/gameday", seen),
            Route("/control/api/gameday", begin, methods=["POST"]),
            Route("/control/api/gameday", stop, methods=["DELETE"]),
        ]


def _text_of(body: Any) -> str:
    text = body.get("toml") if isinstance(body, dict) else None
    if isinstance(text, str) and len(text) <= TEXT_CHARS_MAX:
        return text
    raise InvalidInput(FieldError("/toml", f"must be the text of a file, of at most {TEXT_CHARS_MAX} characters"))
