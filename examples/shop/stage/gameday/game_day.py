"""Holding a game day: look, break, watch, stop early where it goes too far, put everything back, and tell."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx2

from shop.plain_http import no_authority
from shop.stage.scenarios.crowd import Crowd, CrowdResult
from shop.stage.scenarios.scenario import MEASURED_SKU
from shop.stage.scenarios.scenario_run import holds, look_up
from shop.stage.scenarios.shop_client import PATIENCE_S, NoShop, ShopClient
from shop.stage.total_timeout import TotalTimeoutClient

if TYPE_CHECKING:  # the models are heavy to load, and a shop without a game day needs none of them
    from shop.stage.gameday.experiment import Check, Experiment, Hypothesis, PlannedFault

_LOOKS_S = 0.4
_BUYERS_LATE_S = 60.0  # the last of them may fill a cart just before the end
_FIRST_BUYER = 2_000  # addresses before are for other visitors

Figures = dict[str, Any]
HELD, REFUTED, ABORTED, NOT_BEGUN, STOPPED, FAILED = "held", "refuted", "aborted", "not begun", "stopped", "failed"


class _Over(Exception):
    """The game day ends here; its text is the result."""


class GameDay:
    """One game day on the shop at `url`.

    Keeps: however it ends, the faults are withdrawn and the load is as before; a fault ends by itself besides. An
    abort condition that is true withdraws them at the look that finds it, and the record says when.
    """

    def __init__(self, experiment: Experiment, url: str) -> None:
        self.experiment = experiment
        self._url = url
        self._crowd = Crowd(url, _FIRST_BUYER)
        self._began_s = time.monotonic()
        self._began_at = _now()
        self._ended_at: str | None = None
        self._result: str | None = None
        self._told: list[dict[str, Any]] = []
        self._first: dict[str, dict[str, Any]] = {}
        self._since: dict[str, dict[str, Any]] = {}
        self._steady = [_row(check, before="", after="", held=None) for check in experiment.steady_state]
        self._hypotheses = [_row(check, found="", held=None) for check in experiment.hypotheses]
        self._aborts = [_row(check, found="", hit_at_s=None) for check in experiment.abort]

    async def run(self) -> None:
        """Hold it to its end."""
        try:
            async with self._client() as http:
                shop = ShopClient(http)
                await self._held(shop, http)
        except asyncio.CancelledError:
            self._result = STOPPED
            raise
        except NoShop as gone:
            self._result = FAILED
            self._tell(str(gone))
        finally:
            self._ended_at = _now()

    async def _held(self, shop: ShopClient, http: httpx2.AsyncClient) -> None:
        try:
            await self._before(shop, http)
            async with self._buyers(shop) as buying:
                await self._during(shop, http, buying)
        except _Over as over:
            self._result = str(over)
        finally:
            await self._put_back(shop)
        if self._result != NOT_BEGUN:
            await self._after(shop, http)

    async def _before(self, shop: ShopClient, http: httpx2.AsyncClient) -> None:
        state = await shop.state()
        self._first = _by_name(state)
        figures = self._figures(state)
        for check, row in zip(self.experiment.steady_state, self._steady, strict=True):
            row["held"], row["before"] = await _judged(check, figures, http)
        if not all(row["held"] for row in self._steady):
            self._tell("The steady state does not hold, so nothing was broken")
            raise _Over(NOT_BEGUN)
        self._tell("The steady state holds")

    async def _during(
        self, shop: ShopClient, http: httpx2.AsyncClient, buying: asyncio.Task[CrowdResult] | None
    ) -> None:
        ends_s = time.monotonic() + self.experiment.duration_s
        left = sorted(self.experiment.faults, key=lambda fault: fault.after_s)
        began_s = time.monotonic()
        while True:
            left = await self._begun(shop, left, time.monotonic() - began_s)
            figures = self._figures(await shop.state())
            await self._abort_if_needed(figures, http)
            late_s = time.monotonic() - ends_s
            is_end = late_s >= 0 and (buying is None or buying.done() or late_s > _BUYERS_LATE_S)
            await self._judge(figures, http, is_end=is_end)
            if is_end:
                break
            await asyncio.sleep(_LOOKS_S)
        raise _Over(HELD if all(row["held"] for row in self._hypotheses) else REFUTED)

    async def _begun(self, shop: ShopClient, left: list[PlannedFault], at_s: float) -> list[PlannedFault]:
        """Begin the faults that are due; gives the others."""
        for fault in [fault for fault in left if fault.after_s <= at_s]:
            await shop.fault(fault.body())
            self._tell(f"{fault.target}: {fault.kind}, {fault.percent} %, for {fault.ttl_s} s")
        return [fault for fault in left if fault.after_s > at_s]

    async def _abort_if_needed(self, figures: Figures, http: httpx2.AsyncClient) -> None:
        for check, row in zip(self.experiment.abort, self._aborts, strict=True):
            is_true, row["found"] = await _judged(check, figures, http)
            if is_true:
                row["hit_at_s"] = self._at_s()
                self._tell(f"Abort: {check.name} ({row['found']})")
                raise _Over(ABORTED)

    async def _judge(self, figures: Figures, http: httpx2.AsyncClient, *, is_end: bool) -> None:
        for check, row in zip(self.experiment.hypotheses, self._hypotheses, strict=True):
            if row["held"] is False or not (is_end or check.throughout):
                continue
            row["held"], row["found"] = await _judged(check, figures, http)

    async def _put_back(self, shop: ShopClient) -> None:
        await shop.restore()
        if self._result != NOT_BEGUN:
            self._tell("The faults are withdrawn")

    async def _after(self, shop: ShopClient, http: httpx2.AsyncClient) -> None:
        """Look until the shop is as before."""
        ends_s = time.monotonic() + self.experiment.recover_s
        while True:
            state = await shop.state()
            figures = self._figures(state)
            for check, row in zip(self.experiment.steady_state, self._steady, strict=True):
                row["held"], row["after"] = await _judged(check, figures, http)
            if all(row["held"] for row in self._steady):
                self._tell("The steady state holds again")
                return
            if time.monotonic() > ends_s:
                self._tell("The shop is not as before")
                self._result = REFUTED if self._result == HELD else self._result
                return
            await asyncio.sleep(_LOOKS_S)

    @asynccontextmanager
    async def _buyers(self, shop: ShopClient) -> AsyncIterator[asyncio.Task[CrowdResult] | None]:
        """The load, for as long as the block runs; gives the buying, where there are buyers."""
        load = self.experiment.load
        if load.visitors is not None:
            await shop.load(load.visitors)
        if not load.buyers:
            yield None
            return
        await shop.deliver(MEASURED_SKU, 2 * load.buyers)
        apart_s = self.experiment.duration_s / load.buyers
        buying = asyncio.create_task(
            self._crowd.buy(load.buyers, MEASURED_SKU, presses=1, apart_s=apart_s, patience_s=0.0)
        )
        try:
            yield buying
        finally:
            buying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await buying

    def _figures(self, state: dict[str, Any]) -> Figures:
        """What checks may name: the state, and what has happened to the objectives since the beginning."""
        self._since = {name: _since(self._first[name], now) for name, now in _by_name(state).items()}
        return {**state, "since": self._since}

    def _tell(self, text: str) -> None:
        self._told.append({"at_s": self._at_s(), "text": text})

    def _at_s(self) -> float:
        return round(time.monotonic() - self._began_s, 1)

    def view(self) -> dict[str, Any]:
        """The record, as far as it is: plain values."""
        experiment = self.experiment
        return {
            **experiment.model_dump(include={"name", "title", "hypothesis", "duration_s", "recover_s"}),
            **experiment.model_dump(include={"blast_radius", "load", "faults"}),
            "began_at": self._began_at,
            "ended_at": self._ended_at,
            "result": None if self._ended_at is None else self._result,
            "steady_state": self._steady,
            "hypotheses": self._hypotheses,
            "abort": self._aborts,
            "since": self._since,
            "told": self._told,
        }

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx2.AsyncClient]:
        async with TotalTimeoutClient(base_url=self._url, timeout=PATIENCE_S, verify=no_authority()) as http:
            yield http


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _row(check: Check | Hypothesis, **fields: Any) -> dict[str, Any]:
    return {"name": check.name, "wanted": check.wanted(), **fields}


def _by_name(state: dict[str, Any]) -> dict[str, dict[str, Any]]:
    budgets: Iterable[dict[str, Any]] = state["budgets"]
    return {str(budget["name"]): budget for budget in budgets}


def _since(first: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """What an objective has seen since then; where its hour has passed, less than nothing is nothing."""
    events, errors = (max(0, now[name] - first[name]) for name in ("events", "errors"))
    return {"events": events, "errors": errors, "error_percent": round(100 * errors / events, 1) if events else 0.0}


async def _judged(check: Check, figures: Figures, http: httpx2.AsyncClient) -> tuple[bool, str]:
    """Whether a check is true, and what was found."""
    if check.of is not None:
        found = look_up(figures, check.of)
        return holds(found, check.bounds()), str(found)
    began_s = time.monotonic()
    try:
        answer = await http.get(str(check.get), timeout=check.within_s)
    except httpx2.HTTPError as error:
        return False, type(error).__name__
    return answer.status_code == check.status, f"{answer.status_code} in {time.monotonic() - began_s:.2f} s"
