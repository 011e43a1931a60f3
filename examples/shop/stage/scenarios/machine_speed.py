"""How quick this machine is at the moment: the crowds of a scenario are cut to it."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import httpx2

from shop.stage.scenarios.crowd import Crowd

QUICK_S = 0.35  # a purchase that takes so long lets a crowd be as large as it is written
TOO_SLOW_S = 3.0  # beyond this a checkout is hardly ever done within its own limit
CHECKOUT_S = 5.0  # after this a checkout is given up, and no figure of its crowd means what it should
WAITING_MAX = 0.25  # one program that shares a core takes half of its time
# A purchase that is refused costs the shop up to 1.6 times as much as one that succeeds, because it is undone; an open
# page and the sweep of unsettled orders take up to a third of its time (measured). Closer together, customers queue.
APART = 3.0
_SLOWER = 3.0
_ROUNDS = 3
_SCHEDSTAT = Path("/proc/thread-self/schedstat")  # proc(5): nanoseconds on a processor, and nanoseconds waiting for one


class Processor(NamedTuple):
    """For how long this thread has worked and has waited for a processor; both 0 where the system does not tell."""

    worked_s: float
    waited_s: float

    @classmethod
    def so_far(cls) -> Processor:
        """As of now."""
        try:
            worked_ns, waited_ns, *_ = _SCHEDSTAT.read_text().split()
        except OSError:  # not Linux
            return cls(0.0, 0.0)
        return cls(int(worked_ns) / 1e9, int(waited_ns) / 1e9)

    def waiting_since(self, earlier: Processor) -> float:
        """The part of the time it could have worked in which other programs had the processor."""
        worked_s, waited_s = self.worked_s - earlier.worked_s, self.waited_s - earlier.waited_s
        return waited_s / (worked_s + waited_s) if waited_s else 0.0


class MachineSpeed(NamedTuple):
    """What one purchase and one look at a product took, and how much of its time the shop waited for a processor."""

    purchase_s: float
    look_s: float
    waiting: float = 0.0

    @property
    def share(self) -> float:
        """The part of a crowd that this machine can serve in the time that the scenario has."""
        return min(1.0, QUICK_S / max(self.purchase_s, 0.001))

    def apart_s(self, written_s: float) -> float:
        """How far apart customers come, so that each finds a shop that is not still busy with those before."""
        return max(written_s, APART * self.purchase_s)

    @property
    def is_too_busy(self) -> bool:
        """Whether there is no use in beginning."""
        return self.purchase_s > TOO_SLOW_S

    def in_words(self) -> str:
        """What was measured, and what follows from it."""
        told = f"One purchase {took(self.purchase_s)} on this machine"
        if self.is_too_busy:
            return f"{told}: it is too busy for this story. Close other programs and try again."
        if self.share < 1:
            return f"{told}: the crowds are {self.share:.0%} of their usual size, so that it keeps its time."
        return f"{told}: quick enough for the whole crowd."

    def explains(self, now: MachineSpeed) -> bool:
        """Whether the machine, as measured now or before, is why something did not hold."""
        is_slower = now.look_s > max(_SLOWER * self.look_s, QUICK_S)
        return self.share < 1 or is_slower or now.waiting > WAITING_MAX


def took(purchase_s: float) -> str:
    """How long a purchase takes, in words: one that failed has no time."""
    return "does not succeed" if math.isinf(purchase_s) else f"takes {purchase_s:.2f} s"


def in_ms(look_s: float) -> str:
    """The time of a look in words; one that failed has none."""
    return "no answer" if math.isinf(look_s) else f"{1000 * look_s:.0f} ms"


async def measured(crowd: Crowd, sku: str) -> MachineSpeed:
    """Time some looks at a product, and some purchases; one that fails counts as endless."""
    look_s = await _typical_s(_look_s, crowd, sku)
    await _purchase_s(crowd, sku)  # the first one also opens connections
    return MachineSpeed(await _typical_s(_purchase_s, crowd, sku), look_s)


async def measured_again(crowd: Crowd, sku: str, since: Processor) -> MachineSpeed:
    """Time some looks at a product, and say how long the shop has waited for a processor since then."""
    waiting = Processor.so_far().waiting_since(since)
    return MachineSpeed(0.0, await _typical_s(_look_s, crowd, sku), waiting)


async def _typical_s(time_one: Callable[[Crowd, str], Awaitable[float]], crowd: Crowd, sku: str) -> float:
    return sorted([await time_one(crowd, sku) for _ in range(_ROUNDS)])[_ROUNDS // 2]


async def _purchase_s(crowd: Crowd, sku: str) -> float:
    result = await crowd.buy(1, sku, presses=1, apart_s=0.0, patience_s=0.0)
    return result.took_s[0] if result.bought else float("inf")


async def _look_s(crowd: Crowd, sku: str) -> float:
    async with crowd.new_customer() as (_customer, http):
        return await _timed(lambda: http.get(f"/api/v1/products/{sku}"))


async def _timed(ask: Callable[[], Awaitable[httpx2.Response]]) -> float:
    began_s = time.monotonic()
    try:
        await ask()
    except httpx2.HTTPError:
        return float("inf")
    return time.monotonic() - began_s
