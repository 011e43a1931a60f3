"""Playing a scenario: one step after the other, expectations noted as they hold or not, everything put back."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from shop.plain_http import no_authority
from shop.stage.scenarios.crowd import Crowd
from shop.stage.scenarios.machine_speed import CHECKOUT_S, MachineSpeed, Processor, in_ms, measured, measured_again
from shop.stage.scenarios.scenario import COLUMNS, Scenario, Step
from shop.stage.scenarios.shop_client import PATIENCE_S, NoShop, ShopClient
from shop.stage.total_timeout import TotalTimeoutClient

_LOOKS_S = 0.3
_EXPECT_S = 5.0
_LATE = 4  # a scenario that takes so many times its usual time is stopped
_UNREAD_S = 60.0
_PEOPLE_MIN = 6
_MEASURED_PIECES = 30
_BUSY = "your machine is too busy for this story."
_REPORT = "this check has to hold, and the machine is not why it does not. Please report it."
_NAMED = re.compile(r"\{([a-z_.]+)\}")
_FIRST_PERSON = 1_000  # addresses before are for the visitors of the load dial


class TooBusy(Exception):
    """A scenario that stops early; says why in a sentence for people."""


class ScenarioRun:
    """One run of a scenario.

    Keeps: however it ends (done, failed, stopped), switches, faults and load are as they were before, and
    second orders of one cart are refunded. It stops at the first check that fails, and after `_LATE` times
    the time that it usually takes.
    """

    def __init__(self, scenario: Scenario, url: str, *, pace: float = 1.0, size: float = 1.0) -> None:
        self.scenario = scenario
        self.expectations: list[dict[str, Any]] = [
            {"text": step.object, "held": None, "part": part, "found": "", "excused": False}
            for part, step in parts(scenario)
            if step.verb == "expect"
        ]
        self._url = url
        self._pace = pace
        self._size = size
        self._crowd = Crowd(url, _FIRST_PERSON)
        self._fared: dict[str, Any] = {}
        self._seen: dict[str, Any] = {}  # the state that was judged or noted last: sentences tell the same numbers
        self._is_seen_old = True  # something has happened since
        self._table: dict[str, dict[str, str]] = {}
        self._told: list[str] = []
        self._machine = MachineSpeed(0.0, 0.0)
        self._crowd_began = Processor.so_far()
        self._flood: asyncio.Task[None] | None = None
        self._began_s = time.monotonic()
        self._ended_s: float | None = None
        self._is_played = False
        self._step = 0
        self._caption = ""
        self._judged = 0

    @property
    def held(self) -> bool:
        """Whether it was played to its end and all expectations held."""
        return self._is_played and all(expectation["held"] for expectation in self.expectations)

    def view(self) -> dict[str, Any]:
        """How far it is."""
        elapsed_s = (self._ended_s or time.monotonic()) - self._began_s
        return {
            "name": self.scenario.name,
            "title": self.scenario.title,
            "step": self._step,
            "steps": len(self.scenario.steps),
            "caption": self._caption,
            "elapsed_s": round(elapsed_s, 1),
            "takes_s": self.scenario.takes_s,
            "ended": self._ended_s is not None,
            "held": self.held,
            "expectations": [dict(expectation) for expectation in self.expectations],
            "table": [{"row": row, **{name: cells.get(name, "–") for name in COLUMNS}} for row, cells in self._rows()],
            "told": list(self._told),
        }

    def _rows(self) -> list[tuple[str, dict[str, str]]]:
        return list(self._table.items())

    async def run(self) -> bool:
        """Run all steps; whether everything held. NoShop when the shop cannot be reached."""
        async with TotalTimeoutClient(base_url=self._url, timeout=PATIENCE_S, verify=no_authority()) as http:
            shop = ShopClient(http)
            try:
                async with self._put_back(shop):
                    await self._run_in_time(shop)
            except TooBusy as reason:
                self._say(str(reason))
            except NoShop as failure:
                self._say(f"The scenario broke off: {failure}.")
                raise
            finally:
                self._ended_s = time.monotonic()
        return self.held

    async def _run_in_time(self, shop: ShopClient) -> None:
        limit_s = _LATE * self.scenario.takes_s
        try:
            async with asyncio.timeout(limit_s):
                await self._run_steps(shop)
        except TimeoutError:
            usual = f"It usually takes {self.scenario.takes_s} s, and has not ended after {limit_s} s."
            raise TooBusy(f"Stopped: {_BUSY} {usual}") from None

    async def _run_steps(self, shop: ShopClient) -> None:
        if self.scenario.needs_replicas and not (await shop.state())["rollout"]["can_begin"]:
            raise TooBusy("This story needs several processes: start the shop with --procs --replicas 2.")
        self._say("Timing a few purchases, to see how busy this machine is.")
        await shop.deliver(self.scenario.sku, _MEASURED_PIECES)
        self._machine = await measured(self._crowd, self.scenario.sku)
        self._say(self._machine.in_words())
        if self._machine.is_too_busy:
            raise TooBusy("Nothing was changed.")
        if self._size < 1:
            self._say(f"As you asked, {self._size:.0%} of each crowd comes, or as many as the story needs.")
        for step in self.scenario.steps:
            self._step += 1
            await self._take(shop, step)
        self._is_played = True

    @asynccontextmanager
    async def _put_back(self, shop: ShopClient) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self._end_flood()
            # Stopping a play does not stop its cleaning up.
            restoring = asyncio.ensure_future(shop.restore())
            try:
                await asyncio.shield(restoring)
            except asyncio.CancelledError:
                await restoring
                raise

    def _say(self, text: str) -> None:
        self._caption = text
        self._told.append(text)

    def _known(self, state: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What texts and expectations may name."""
        return {**(state or {}), "crowd": self._fared}

    async def _take(self, shop: ShopClient, step: Step) -> None:
        if step.say:
            self._say(filled(step.say, self._known(self._seen)))
        self._is_seen_old |= step.verb not in ("expect", "record", "wait_s")
        await getattr(self, f"do_{step.verb}")(shop, step)

    async def do_switch(self, shop: ShopClient, step: Step) -> None:
        """Turn a defence on or off."""
        await shop.switch(step.object, on=step.details["on"])

    async def do_fault(self, shop: ShopClient, step: Step) -> None:
        """Begin a fault."""
        await shop.fault(step.object)

    async def do_heal(self, shop: ShopClient, step: Step) -> None:
        """Heal a target."""
        await shop.heal(step.object)

    async def do_load(self, shop: ShopClient, step: Step) -> None:
        """Turn the load dial."""
        await shop.load(step.object)

    async def do_deliver(self, shop: ShopClient, step: Step) -> None:
        """Let pieces be delivered, up to a number."""
        await shop.deliver(step.object, step.details["up_to"])

    async def do_cancel_extra(self, shop: ShopClient, _step: Step) -> None:
        """Cancel and refund the second orders of one cart."""
        await shop.cancel_extra()

    async def do_night(self, shop: ShopClient, _step: Step) -> None:
        """Have the sellers paid."""
        await shop.run_night()

    async def do_reverse(self, shop: ShopClient, _step: Step) -> None:
        """Claim back what sellers were paid twice."""
        await shop.reverse()

    async def do_redrive(self, shop: ShopClient, _step: Step) -> None:
        """Have all dead letters tried again."""
        await shop.redrive()

    async def do_wait_s(self, _shop: ShopClient, step: Step) -> None:
        """Give people time to look; a fast pace shortens only this."""
        await asyncio.sleep(step.object / self._pace)

    async def do_crowd(self, shop: ShopClient, step: Step) -> None:
        """People who buy, until the last of them has an answer; fewer and further apart on a slow machine."""
        details = {"presses": 1, "apart_s": 0.0, "patience_s": 0.0, "at_least": _PEOPLE_MIN, **step.details}
        people = self._people(step.object, details.pop("at_least"))
        if details["apart_s"]:
            details["apart_s"] = self._machine.apart_s(details["apart_s"])
        self._crowd_began = Processor.so_far()
        shop.note_presses(details["presses"])
        self._fared = (await self._crowd.buy(people, **details)).view()

    def _people(self, written: int, at_least: int) -> int:
        """As many as were asked for and this machine can serve, but as many as the story needs."""
        return min(written, max(at_least, round(written * min(self._size, self._machine.share))))

    async def do_searchers(self, shop: ShopClient, step: Step) -> None:
        """Ordinary people who search, until the last of them is done, or as long as a rollout runs."""
        people = self._people(step.object, _PEOPLE_MIN)
        self._crowd_began = Processor.so_far()
        goes_on = shop.is_rolling_out if step.details.get("while_rolling_out") else None
        self._fared = (await self._crowd.searchers(people, step.details.get("searches", 8), goes_on)).view()

    async def do_roll_out(self, shop: ShopClient, step: Step) -> None:
        """Roll a new release out."""
        details = {"has_bug": False, "at_once": False, **step.details}
        await shop.roll_out(step.object, has_bug=details["has_bug"], at_once=details["at_once"])

    async def do_take_back(self, shop: ShopClient, _step: Step) -> None:
        """Take a release back that all replicas have."""
        await shop.take_back()

    async def do_flood(self, shop: ShopClient, step: Step) -> None:
        """A greedy client that searches from now on, or no more."""
        await self._end_flood()
        if step.object:
            counts = (await shop.state())["limiter"].get("counts", 1)  # each has a share to give
            self._flood = asyncio.create_task(self._crowd.flood(counts * step.details["a_second"]))

    async def _end_flood(self) -> None:
        if self._flood is not None:
            self._flood.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._flood
            self._flood = None

    async def do_record(self, shop: ShopClient, step: Step) -> None:
        """Note a figure for the table at the end: where a check has just judged it, the one that it judged."""
        if self._is_seen_old and not step.details["of"].startswith("crowd."):
            self._seen, self._is_seen_old = await shop.state(), False
        found = look_up(self._known(self._seen), step.details["of"])
        unit = step.details.get("unit", "")
        text = f"{found:.2f}" if isinstance(found, float) else str(found)
        self._table.setdefault(step.object, {})[step.details["column"]] = f"{text} {unit}".strip()

    async def do_expect(self, shop: ShopClient, step: Step) -> None:
        """Look whether something holds, again and again until it does or the time is up; the first failure ends it.

        Where a busy machine may be why it does not hold, it is told as not judged, rather than as a failure.
        """
        known, held = await self._looked(shop, step)
        excuse = "" if held else await self._excuse(step, known)
        found = filled(step.details.get("found", ""), known)
        self.expectations[self._judged].update(held=None if excuse else held, found=found, excused=bool(excuse))
        self._judged += 1
        verdict = "holds" if held else "NOT JUDGED" if excuse else "DOES NOT HOLD"
        self._told.append(f"  {verdict}: {step.object}{f' ({found})' if found else ''}")
        if not held:
            raise TooBusy(f"Stopped: {excuse or _REPORT}")

    async def _looked(self, shop: ShopClient, step: Step) -> tuple[dict[str, Any], bool]:
        """The last state that was looked at, and whether the expectation holds in it.

        An old state of the shop proves nothing, so the time is extended until there is a new one.
        """
        ends_s = time.monotonic() + step.details.get("within_s", _EXPECT_S)
        while True:
            self._seen, self._is_seen_old = await shop.state(), False
            known = self._known(self._seen)
            is_seen = is_proof(step, known)
            held = is_seen and holds(look_up(known, step.details["of"]), bounds(step, known))
            late_s = time.monotonic() - ends_s
            if held or (is_seen and late_s > 0) or late_s > _UNREAD_S:
                return known, held
            await asyncio.sleep(_LOOKS_S)

    async def _excuse(self, step: Step, known: Mapping[str, Any]) -> str:
        """Why the machine may be the reason that a check does not hold; "" where it is none."""
        if not is_proof(step, known):
            return f"{_BUSY} The shop's records could not be read in time."
        if step.details.get("always"):
            return ""
        now = await measured_again(self._crowd, self.scenario.sku, self._crowd_began)
        if not self._machine.explains(now) and self._fared.get("slowest_s", 0.0) <= CHECKOUT_S:
            return ""
        return (
            f"{_BUSY} One purchase took {self._machine.purchase_s:.2f} s before it began; "
            f"one page: {in_ms(self._machine.look_s)} then, {in_ms(now.look_s)} now. Other programs had the processor "
            f"for {now.waiting:.0%} of the time in which the shop could have worked. "
            "Close other programs and try again."
        )


def is_proof(step: Step, known: Mapping[str, Any]) -> bool:
    """Whether what is known is new enough to judge by; how a crowd fared always is."""
    return bool(known["current"]) or step.details["of"].startswith("crowd.")


def parts(scenario: Scenario) -> list[tuple[str, Step]]:
    """Each step with the part of the story it is in: with the defence, without it, or with it again."""
    found, part = [], "with"
    for step in scenario.steps:
        if (step.verb == "switch" and not step.details["on"]) or step.details.get("at_once"):
            part = "without"
        elif step.verb in ("switch", "take_back") and part == "without":
            part = "with again"
        found.append((part, step))
    return found


def bounds(step: Step, known: Mapping[str, Any]) -> dict[str, Any]:
    """What an expectation compares with: values, and the values of what it names, as `crowd.people`."""
    given = {name: step.details[name] for name in ("equals", "above", "below") if name in step.details}
    return {
        name: look_up(known, value) if isinstance(value, str) and "." in value else value
        for name, value in given.items()
    }


def filled(text: str, known: Mapping[str, Any]) -> str:
    """A text with `{crowd.orders}` and the like replaced by what happened."""
    return _NAMED.sub(lambda named: _in_words(look_up(known, named[1])), text)


def _in_words(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def look_up(document: Any, path: str) -> Any:
    """The value at a dotted path; None where there is none."""
    for name in path.split("."):
        document = document.get(name) if isinstance(document, Mapping) else None
    return document


def holds(found: Any, bounds: Mapping[str, Any]) -> bool:
    """Whether a value is as an expectation wants it."""
    if "equals" in bounds:
        return bool(found == bounds["equals"])
    above, below = bounds.get("above", float("-inf")), bounds.get("below", float("inf"))
    if not all(isinstance(value, int | float) for value in (found, above, below)):
        return False
    return bool(above < found < below)
