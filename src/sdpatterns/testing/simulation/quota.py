"""A fleet of nodes that share one quota over a bad network, around the end of a day and of a month.

Promise: every request is decided as a ledger decides that looks each earlier one up on a calendar
on the wall, and no request is let through without a step in the store that says so.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any
from zoneinfo import ZoneInfo

from sdpatterns.errors import BackendError
from sdpatterns.testing.simulation.record import Happened
from sdpatterns.testing.simulation.world import Run
from sdpatterns.traffic.quota import Allowance, Quota, QuotaDecision, daily, monthly
from sdpatterns.traffic.quota.decision import Adjust, Use

__all__ = ["Ledger", "QuotaWorld"]

_OPERATION: ContextVar[int] = ContextVar("operation", default=0)
# The virtual clock starts on the evening of a 14th by UTC.
_ZONES = ("UTC", "Europe/Berlin", "Asia/Kathmandu", "America/New_York")


class _Entry:
    def __init__(self, at_us: int, cost: int) -> None:
        self.at_us = at_us
        self.cost = cost


class Ledger:
    """What one key has used, request by request, and a calendar on the wall. `month_begins` is 28 at most."""

    def __init__(self, zone: str, month_begins: int) -> None:
        self._zone = ZoneInfo(zone)
        self._back = dt.timedelta(days=month_begins - 1)
        self._entries: dict[int, _Entry] = {}

    def period_at(self, period: str, at_us: int) -> object:
        """The day or the month that the wall shows."""
        day = dt.datetime.fromtimestamp(at_us // 1_000_000, self._zone).date()
        return day if period == "day" else ((day - self._back).year, (day - self._back).month)

    def fits(self, allowances: Sequence[Allowance], cost: int, now_us: int) -> bool:
        """Whether so much more may be used."""
        return all(self._used(each.period, now_us) + cost <= each.count for each in allowances)

    def enter(self, operation: int, at_us: int, cost: int) -> None:
        """A request was let through."""
        self._entries[operation] = _Entry(at_us, cost)

    def amend(self, operation: int, change: int) -> None:
        """It did cost more, or less."""
        self._entries[operation].cost += change

    def _used(self, period: str, now_us: int) -> int:
        today = self.period_at(period, now_us)
        return sum(entry.cost for entry in self._entries.values() if self.period_at(period, entry.at_us) == today)


class QuotaWorld:
    """See the module."""

    name = "quota"
    sometimes = (
        "delayed", "unsent", "lost_before", "lost_after", "away", "parted", "stepped",
        "passed", "refused", "settled", "refunded", "changed_plan", "wrong_page", "new_day", "new_month", "outage",
    )  # fmt: skip

    async def play(self, run: Run) -> None:
        """Some nodes, some callers, a few keys."""
        fleet = _Fleet(run)
        callers = run.chance.randint(2, 6)
        await run.all_of(fleet.caller(caller) for caller in range(callers))


class _Fleet:
    def __init__(self, run: Run) -> None:
        self.run = run
        chance = run.chance
        zone, month_begins = chance.choice(_ZONES), chance.choice([1, 15])
        self.plans = {
            "basic": (daily(chance.randint(2, 8)), monthly(chance.randint(4, 20))),
            "pro": (monthly(chance.randint(10, 40)),),
        }
        self.plan_of = {key: chance.choice(sorted(self.plans)) for key in ("ann", "bob")}
        self.ledgers = {key: Ledger(zone, month_begins) for key in self.plan_of}
        self.counted: dict[int, int] = {}
        self.current: dict[tuple[str, str], object] = {}
        self.operations = 0
        _, client = run.store(self._tell, run.plan(stepped=chance.random() < 0.5))
        self.nodes = [
            Quota(
                "api", self.plans, plan=self.plan_of, zone=zone, month_begins=month_begins,
                store=client.another(), on_outage="raise",
            )
            for _ in range(chance.randint(1, 4))
        ]  # fmt: skip

    def _tell(self, happened: Happened) -> None:
        step, answer, [key] = happened.step, happened.answer, happened.keys
        self.run.note(type(step).__name__, key, happened.now_us, repr(answer))
        ledger, operation = self.ledgers[key], _OPERATION.get()
        if isinstance(step, Adjust):
            ledger.amend(operation, step.change)
        elif not answer.in_time:
            self.run.note("wrong_page", key)
        elif not step.look:
            self._judge(key, ledger, step, happened)

    def _judge(self, key: str, ledger: Ledger, step: Use, happened: Happened) -> None:
        now_us, operation, allowed = happened.now_us, _OPERATION.get(), happened.answer.allowed
        # The plan may have changed on the way here: what counts is the one that the step was made for.
        most = {limit.most for limit in step.limits}
        allowances = next(plan for plan in self.plans.values() if {each.count for each in plan} <= most)
        for period in ("day", "month"):
            current = ledger.period_at(period, now_us)
            if self.current.setdefault((key, period), current) != current:
                self.run.note(f"new_{period}", key)
                self.current[key, period] = current
        if ledger.fits(allowances, step.cost, now_us) != allowed:
            self.run.violated(
                f"{key} at {now_us}: {step.cost} was {'passed' if allowed else 'refused'} by {step.limits}"
            )
        if allowed:
            ledger.enter(operation, now_us, step.cost)
            self.counted[operation] = step.cost

    async def caller(self, number: int) -> None:
        """One caller: uses, settles, changes a plan, and comes again."""
        chance = self.run.chance
        for _ in range(chance.randint(3, 12)):
            await asyncio.sleep(chance.choice([0.0, 1.0, 600.0, 5_400.0]) * chance.random())
            key = chance.choice(sorted(self.plan_of))
            if chance.random() < 0.1:
                self.plan_of[key] = chance.choice(sorted(self.plans))
                self.run.note("changed_plan", key)
            self.operations += 1
            _OPERATION.set(self.operations)
            try:
                await self._use(chance.choice(self.nodes), key, chance.randint(1, 2))
            except BackendError:
                self.run.note("outage", number)

    async def _use(self, node: Quota, key: str, cost: int) -> None:
        decision = await node.acquire(key, cost)
        if not decision.allowed:
            self.run.note("refused", key, decision.retry_after_s)
            if decision.retry_after_s <= 0:
                self.run.violated(f"refused, and told to come again in {decision.retry_after_s} s")
            return
        self.run.note("passed", key)
        if self.counted.get(_OPERATION.get()) != cost:
            self.run.violated(f"{key} was let through at cost {cost} without a step in the store")
        await self._settle(node, decision)

    async def _settle(self, node: Quota, decision: QuotaDecision) -> None:
        chance: Any = self.run.chance
        if chance.random() < 0.3:
            await asyncio.sleep(chance.choice([0.0, 5_400.0]) * chance.random())
            await node.settle(decision, chance.randint(0, 4))
            self.run.note("settled")
        elif chance.random() < 0.2:
            await node.refund(decision)
            self.run.note("refunded")
