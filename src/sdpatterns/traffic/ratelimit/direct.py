"""The limiter's step on this process's own cells, for one rate, without the way through `transact`.

It stands on the same cells and does what `Book` does, at half the cost; whatever is not everyday
(a new key, a key not used for a while, a full space, another clock) it leaves to `Book`.
"""

from __future__ import annotations

import time

from sdpatterns.core.clock import SHIFTED_EPOCH_US, WHOLE, process_now_us
from sdpatterns.ports.local import LocalCells
from sdpatterns.traffic.ratelimit.answer import Decision, Limit
from sdpatterns.traffic.ratelimit.decision import State

__all__ = ["DirectBook"]


class DirectBook:
    """`Book` for one rate on `LocalCells`. Costs: a third of a microsecond, the lock included."""

    __slots__ = ("_burst", "_clock", "_interval_us", "_limit", "_lock", "_shards", "_tolerance_us")

    def __init__(self, cells: LocalCells[State], limit: Limit) -> None:
        cells.keep_at_least(limit.tolerance_us)
        self._clock = cells.clock
        self._lock = cells.lock
        self._shards = cells.shards
        self._limit = limit
        self._interval_us = limit.interval_us
        self._tolerance_us = limit.tolerance_us
        self._burst = limit.rate.limit

    def take(self, key: str, cost: int) -> Decision | None:
        """The decision, or None where `Book` has to decide."""
        if self._clock.now_us is not process_now_us or not 0 < cost <= self._burst:
            return None
        mask_hash = hash(key) & 1023
        lock = self._lock
        # Not `with`: it costs 50 ns more, a tenth of the whole decision.
        lock.acquire()
        try:
            young = self._shards[mask_hash].young
            tat = young.get(key)
            if tat is None:
                return None
            now_us = time.monotonic() * 1e6 + SHIFTED_EPOCH_US - WHOLE
            after = (max(now_us, tat)) + cost * self._interval_us
            wait_us = after - self._tolerance_us - now_us
            if wait_us <= 0.0:
                young[key] = after
                return Decision(self._limit, after - now_us)
        finally:
            lock.release()
        return Decision(self._limit, tat - now_us, wait_us)
