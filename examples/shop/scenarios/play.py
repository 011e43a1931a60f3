"""Playing a scenario: one step after the other, expectations noted as they hold or not, everything put back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from shop.scenarios.crowd import Crowd
from shop.scenarios.script import Script, Step
from shop.scenarios.stage import Stage

_LOOKS_S = 0.3
_EXPECT_S = 5.0
_FIRST_PERSON = 1_000  # addresses before are for the visitors of the load dial


class Play:
    """One performance of a script.

    Keeps: however it ends (done, failed, stopped), switches, faults and load are as they were before.
    """

    def __init__(
        self, script: Script, url: str, *, pace: float = 1.0, tell: Callable[[str], None] = lambda _text: None
    ) -> None:
        self.script = script
        self.expectations: list[dict[str, Any]] = [
            {"text": step.object, "held": None} for step in script.steps if step.verb == "expect"
        ]
        self._url = url
        self._pace = pace
        self._tell = tell
        self._crowd = Crowd(url, _FIRST_PERSON)
        self._fared: dict[str, Any] = {}
        self._flood: asyncio.Task[None] | None = None
        self._began_s = time.monotonic()
        self._ended_s: float | None = None
        self._step = 0
        self._caption = ""
        self._judged = 0

    @property
    def held(self) -> bool:
        """Whether it was played to its end and all expectations held."""
        return self._ended_s is not None and all(expectation["held"] for expectation in self.expectations)

    def view(self) -> dict[str, Any]:
        """How far it is."""
        elapsed_s = (self._ended_s or time.monotonic()) - self._began_s
        return {
            "name": self.script.name,
            "title": self.script.title,
            "step": self._step,
            "steps": len(self.script.steps),
            "caption": self._caption,
            "elapsed_s": round(elapsed_s, 1),
            "takes_s": self.script.takes_s,
            "ended": self._ended_s is not None,
            "expectations": [dict(expectation) for expectation in self.expectations],
        }

    async def perform(self) -> bool:
        """Play it all; whether everything held. NoShop when the shop cannot be reached."""
        async with httpx2.AsyncClient(base_url=self._url) as http:
            stage = Stage(http)
            try:
                async with self._put_back(stage):
                    for step in self.script.steps:
                        self._step += 1
                        await self._take(stage, step)
            finally:
                self._ended_s = time.monotonic()
        return self.held

    @asynccontextmanager
    async def _put_back(self, stage: Stage) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self._end_flood()
            # Whoever stops a play does not stop the putting back.
            restoring = asyncio.ensure_future(stage.restore())
            try:
                await asyncio.shield(restoring)
            except asyncio.CancelledError:
                await restoring
                raise

    async def _take(self, stage: Stage, step: Step) -> None:
        if step.say:
            self._caption = step.say
            self._tell(step.say)
        await getattr(self, f"do_{step.verb}")(stage, step)

    async def do_switch(self, stage: Stage, step: Step) -> None:
        """Throw a switch."""
        await stage.switch(step.object, on=step.details["on"])

    async def do_fault(self, stage: Stage, step: Step) -> None:
        """Begin a fault."""
        await stage.fault(step.object)

    async def do_heal(self, stage: Stage, step: Step) -> None:
        """Heal a target."""
        await stage.heal(step.object)

    async def do_load(self, stage: Stage, step: Step) -> None:
        """Turn the load dial."""
        await stage.load(step.object)

    async def do_deliver(self, stage: Stage, step: Step) -> None:
        """Let pieces be delivered, up to a number."""
        await stage.deliver(step.object, step.details["up_to"])

    async def do_wait_s(self, _stage: Stage, step: Step) -> None:
        """Give people time to look; a fast pace shortens only this."""
        await asyncio.sleep(step.object / self._pace)

    async def do_crowd(self, _stage: Stage, step: Step) -> None:
        """People who buy, until the last of them has an answer."""
        details = {"presses": 1, "apart_s": 0.0, "patience_s": 0.0, **step.details}
        self._fared = (await self._crowd.buy(step.object, **details)).view()

    async def do_searchers(self, _stage: Stage, step: Step) -> None:
        """Ordinary people who search, until the last of them is done."""
        self._fared = (await self._crowd.searchers(step.object, step.details.get("searches", 8))).view()

    async def do_flood(self, stage: Stage, step: Step) -> None:
        """A greedy client that searches from now on, or no more."""
        await self._end_flood()
        if step.object:
            counts = (await stage.state())["limiter"].get("counts", 1)  # each has a share to give
            self._flood = asyncio.create_task(self._crowd.flood(counts * step.details["a_second"]))

    async def _end_flood(self) -> None:
        if self._flood is not None:
            self._flood.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._flood
            self._flood = None

    async def do_expect(self, stage: Stage, step: Step) -> None:
        """Look whether something holds, again and again until it does or the time is up."""
        ends_s = time.monotonic() + step.details.get("within_s", _EXPECT_S)
        while True:
            found = look_up({**await stage.state(), "crowd": self._fared}, step.details["of"])
            held = holds(found, step.details)
            if held or time.monotonic() > ends_s:
                break
            await asyncio.sleep(_LOOKS_S)
        self.expectations[self._judged]["held"] = held
        self._judged += 1
        verdict = f"  {'holds' if held else 'DOES NOT HOLD'}: {step.object} ({step.details['of']} is {found})"
        self._tell(verdict if held else f"{verdict}\n    so it went with the last crowd: {self._fared}")


def look_up(document: Any, path: str) -> Any:
    """The value at a dotted path; None where there is none."""
    for name in path.split("."):
        document = document.get(name) if isinstance(document, Mapping) else None
    return document


def holds(found: Any, bounds: Mapping[str, Any]) -> bool:
    """Whether a value is as an expectation wants it."""
    if "equals" in bounds:
        return bool(found == bounds["equals"])
    if not isinstance(found, int | float):
        return False
    return bool(found > bounds.get("above", float("-inf")) and found < bounds.get("below", float("inf")))
