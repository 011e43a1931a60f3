"""The load that the control room makes on request: one scenario at a time, and simulated visitors."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from shop.problems import Problem, not_found
from shop.stage.scenarios import scenario
from shop.stage.scenarios.crowd import Crowd
from shop.stage.scenarios.scenario_run import ScenarioRun

_log = logging.getLogger("shop.control")


class ScenarioRunner:
    """Plays scenarios through the public port, as any client could.

    Keeps: one at a time; a play that is stopped, or cut short by the end of the shop, puts everything back.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._play: ScenarioRun | None = None
        self._playing: asyncio.Task[None] | None = None

    def cards(self) -> list[dict[str, Any]]:
        """The scenarios there are."""
        return [scenario.load(name).card() for name in scenario.names()]

    def begin(self, name: str, pace: float, size: float) -> None:
        """Play a scenario, with a part of its crowds; 409 while another one is being played."""
        if self.is_playing:
            raise Problem(409, "scenario-running", "A scenario is being played; stop it first.")
        try:
            written = scenario.load(name)
        except KeyError:
            raise not_found("such scenario") from None
        self._play = ScenarioRun(written, self._url, pace=pace, size=size)
        self._playing = asyncio.create_task(self._run_to_end(self._play))

    @property
    def is_playing(self) -> bool:
        """Whether one is being played."""
        return self._playing is not None and not self._playing.done()

    async def _run_to_end(self, play: ScenarioRun) -> None:
        try:
            await play.run()
        except Exception:  # noqa: BLE001 - whatever it was, the shop goes on
            _log.exception("scenario %s failed", play.scenario.name)

    async def stop(self) -> None:
        """Stop what is being played, and wait until everything is put back."""
        if self._playing is not None and not self._playing.done():
            self._playing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._playing

    def view(self) -> dict[str, Any] | None:
        """How far it is; the last one is shown until the next begins."""
        return None if self._play is None else self._play.view()


class Load:
    """Visitors who browse, and sometimes buy."""

    def __init__(self, url: str) -> None:
        self._crowd = Crowd(url)
        self._visitors: list[asyncio.Task[None]] = []

    async def set_visitors(self, visitors: int) -> None:
        """Start or end visitors until there are so many."""
        while len(self._visitors) < visitors:
            self._visitors.append(asyncio.create_task(self._crowd.stroll()))
        leaving, self._visitors = self._visitors[visitors:], self._visitors[:visitors]
        for visitor in leaving:
            visitor.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)

    def view(self) -> dict[str, int]:
        """How many visitors there are."""
        return {"visitors": sum(not visitor.done() for visitor in self._visitors)}


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[ScenarioRunner, Load]]:
    """A scenario runner and the simulated visitors, for as long as the block runs."""
    scenarios, load = ScenarioRunner(url), Load(url)
    try:
        yield scenarios, load
    finally:
        await scenarios.stop()
        await load.set_visitors(0)
