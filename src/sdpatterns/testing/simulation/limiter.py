"""A fleet of nodes that share one rate limiter over a bad network.

Promise: whatever window of time is looked at, no more than the burst and what the rate refills in it
were let through, and no request was let through without a step in the store that says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

from sdpatterns.core.clock import SYSTEM
from sdpatterns.errors import BackendError, RateLimited
from sdpatterns.testing.simulation.record import Happened
from sdpatterns.testing.simulation.world import Run
from sdpatterns.traffic.ratelimit import Algorithm, Rate, RateLimiter
from sdpatterns.traffic.ratelimit.decision import Cancel, Reserve

__all__ = ["EVENTS", "Fleet", "LimiterWorld", "Start", "over_the_limit"]

EVENTS = (
    "delayed", "unsent", "lost_before", "lost_after", "away", "parted", "stepped",
    "passed", "refused", "waited", "wait_refused", "wait_cancelled", "cancelled", "outage",
)  # fmt: skip
"""What has to happen in some of many runs of a fleet."""
_OPERATION: ContextVar[int] = ContextVar("operation", default=0)


class Start(NamedTuple):
    """A request that was let through: from when on, by the store's time, and how much it cost."""

    at_us: float
    cost: int


def over_the_limit(starts: Sequence[Start], rate: Rate) -> str:
    """The first window in which too many were let through, in words; empty when there is none.

    The naive oracle: for every pair of starts it adds up all that lies between them.
    """
    in_order = sorted(starts)
    for first, begin in enumerate(in_order):
        spent = 0
        for last in in_order[first:]:
            spent += last.cost
            refilled = (last.at_us - begin.at_us) / rate.interval_us
            if spent > rate.limit + refilled + 1e-6:
                return f"{spent} within {(last.at_us - begin.at_us) / 1e6:.6f} s at {rate}"
    return ""


class LimiterWorld:
    """See the module."""

    name = "limiter"
    sometimes = EVENTS

    async def play(self, run: Run) -> None:
        """Some nodes, some callers, a few keys; then the judgement."""
        await Fleet(run).live()


class Fleet:
    """Nodes that share one limiter, their callers, and what they were let do."""

    def __init__(self, run: Run, algorithm: Algorithm | None = None) -> None:
        self.run = run
        chance = run.chance
        self.scoped = chance.random() < 0.3
        self.rates = [self.rate() for _ in range(chance.choice([1, 1, 2]))]
        self.reserved: dict[int, list[Start]] = {}
        self.started: dict[str, list[Start]] = {}
        self.operations = 0
        _, client = run.store(self._tell, run.plan(stepped=chance.random() < 0.5))
        rates: Any = {"user": self.rates, "all": self.rates[0]} if self.scoped else self.rates
        self.nodes = [
            RateLimiter("api", rates, algorithm=algorithm, store=client.another(), on_outage="raise")
            for _ in range(chance.randint(1, 4))
        ]

    async def live(self) -> None:
        """Some callers at once; then the judgement."""
        callers = self.run.chance.randint(2, 8)
        await self.run.all_of(self.caller(caller) for caller in range(callers))
        self.judge()

    def rate(self) -> Rate:
        """Some rate."""
        chance = self.run.chance
        return Rate(chance.randint(1, 8), chance.choice([0.5, 1.0, 7.0, 60.0]), burst=chance.randint(1, 6))

    def _tell(self, happened: Happened) -> None:
        step, answer = happened.step, happened.answer
        self.run.note(type(step).__name__, happened.keys, happened.now_us, repr(answer))
        start = self.start_of(happened)
        if start is not None:
            self.reserved.setdefault(_OPERATION.get(), []).append(start)
        elif isinstance(step, Cancel):
            self.run.note("cancelled")

    def start_of(self, happened: Happened) -> Start | None:
        """When the request starts that was let through by this step; None for any other step."""
        step, answer = happened.step, happened.answer
        if not isinstance(step, Reserve):
            return None
        made = answer
        if not made[0].allowed or step.look:
            return None
        # A request starts when the last of its rates has room for it.
        return Start(max(start_us for one in made for start_us in one.starts_us), step.cost)

    def excess(self, starts: Sequence[Start], rate: Rate) -> str:
        """How the starts break what a rate promises, in words; empty when they don't."""
        return over_the_limit(starts, rate)

    async def caller(self, number: int) -> None:
        """One caller: asks, waits, gives up, and comes again."""
        chance = self.run.chance
        for _ in range(chance.randint(3, 12)):
            await asyncio.sleep(chance.choice([0.0, 0.01, 0.3, 2.0]) * chance.random())
            user = f"user{chance.randint(0, 1)}"
            key: Any = {"user": user, "all": "all"} if self.scoped else user
            cost = 1 if chance.random() < 0.8 else chance.randint(1, min(rate.limit for rate in self.rates))
            self.operations += 1
            _OPERATION.set(self.operations)
            node = chance.choice(self.nodes)
            try:
                if chance.random() < 0.6:
                    self._acquired(user, cost, await node.acquire(key, cost=cost))
                else:
                    await self._waited(user, cost, node.wait(key, cost=cost, max_wait_s=chance.choice([0.5, 20.0])))
            except BackendError:
                self.run.note("outage", number)

    def _acquired(self, user: str, cost: int, decision: Any) -> None:
        if decision.allowed:
            self.run.note("passed", user)
            self._start(user, cost)
            return
        self.run.note("refused", user, decision.retry_after_s)
        if decision.retry_after_s <= 0:
            self.run.violated(f"refused, and told to come again in {decision.retry_after_s} s")

    async def _waited(self, user: str, cost: int, waiting: Any) -> None:
        task = asyncio.ensure_future(waiting)
        if self.run.chance.random() < 0.4:
            await asyncio.wait({task}, timeout=self.run.chance.random() * 3.0)
            task.cancel()
        try:
            await task
        except RateLimited:
            self.run.note("wait_refused", user)
        except asyncio.CancelledError:
            self.run.note_cancelled(task, "wait_cancelled", user)
        else:
            self.run.note("waited", user, SYSTEM.now_us())
            self._start(user, cost)

    def _start(self, user: str, cost: int) -> None:
        reserved = self.reserved.get(_OPERATION.get(), [])
        if [start.cost for start in reserved] != [cost]:
            self.run.violated(f"let through at cost {cost} with these steps in the store: {reserved}")
        self.started.setdefault(user, []).extend(reserved)

    def judge(self) -> None:
        """Look at every window of every key."""
        limited = [(starts, rate) for starts in self.started.values() for rate in self.rates]
        if self.scoped:
            limited.append(([start for starts in self.started.values() for start in starts], self.rates[0]))
        for starts, rate in limited:
            excess = self.excess(starts, rate)
            if excess:
                self.run.violated(f"too many let through: {excess}")
