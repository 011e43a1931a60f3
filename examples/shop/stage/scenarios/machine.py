"""How quick this machine is at the moment: the crowds of a scenario are cut to it."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import httpx2

from shop.stage.scenarios.crowd import Crowd

QUICK_S = 0.35  # a purchase that takes so long lets a crowd be as large as it is written
TOO_SLOW_S = 3.0  # beyond this a checkout is hardly ever done within its own limit
CHECKOUT_S = 5.0  # after this a checkout is given up, and no figure of its crowd means what it should
_SLOWER = 3.0
_ROUNDS = 3


class Machine(NamedTuple):
    """What one purchase and one look at a product took."""

    purchase_s: float
    look_s: float

    @property
    def share(self) -> float:
        """The part of a crowd that this machine can serve in the time that the scenario has."""
        return min(1.0, QUICK_S / max(self.purchase_s, 0.001))

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

    def explains(self, now: Machine) -> bool:
        """Whether the machine, as measured now or before, is why something did not hold."""
        return self.share < 1 or now.look_s > max(_SLOWER * self.look_s, QUICK_S)


def took(purchase_s: float) -> str:
    """How long a purchase takes, in words: one that failed has no time."""
    return "does not succeed" if math.isinf(purchase_s) else f"takes {purchase_s:.2f} s"


def in_ms(look_s: float) -> str:
    """The time of a look in words; one that failed has none."""
    return "no answer" if math.isinf(look_s) else f"{1000 * look_s:.0f} ms"


async def measured(crowd: Crowd, sku: str, *, buys: bool = True) -> Machine:
    """Time some looks at a product, and a purchase; one that fails counts as endless."""
    looks = [await _look_s(crowd, sku) for _ in range(_ROUNDS)]
    look_s = sorted(looks)[_ROUNDS // 2]
    if not buys:
        return Machine(0.0, look_s)
    await _purchase_s(crowd, sku)  # the first one also opens connections
    return Machine(await _purchase_s(crowd, sku), look_s)


async def _purchase_s(crowd: Crowd, sku: str) -> float:
    tally = await crowd.buy(1, sku, presses=1, apart_s=0.0, patience_s=0.0)
    return tally.took_s[0] if tally.bought else float("inf")


async def _look_s(crowd: Crowd, sku: str) -> float:
    async with crowd.somebody() as (_person, http):
        return await _timed(lambda: http.get(f"/api/v1/products/{sku}"))


async def _timed(ask: Callable[[], Awaitable[httpx2.Response]]) -> float:
    began_s = time.monotonic()
    try:
        await ask()
    except httpx2.HTTPError:
        return float("inf")
    return time.monotonic() - began_s
