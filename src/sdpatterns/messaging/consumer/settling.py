"""Settle messages together: those whose work ended while the last settlement was on its way.

```
work ends --> add --+
work ends --> add --+--> one call of `settle` ---> its answers: settled, or lost to another worker
                              |
                              +--> the store is away: again, for as long as the lease lasts
```
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.runtime import Waiter, current
from sdpatterns.errors import BackendError, OutcomeUnknown
from sdpatterns.messaging.consumer.delivery import Delivery
from sdpatterns.ports.queue import MessageQueue, Settlement

__all__ = ["Settling"]

_log = logging.getLogger("sdpatterns")

_PAUSE_FIRST_S = 0.05
_PAUSE_MAX_S = 1.0


class _Ended(NamedTuple):
    delivery: Delivery
    settlement: Settlement


class Settling:
    """The settlements of one consumer, a call at a time.

    The work is done and the lease is not renewed any more: a message stays its worker's until it is handed out
    again. So settling costs no task and no timer for each message.
    """

    def __init__(self, queue: MessageQueue, settled: Callable[[], None]) -> None:
        self._queue = queue
        self._settled = settled
        self._waiting: deque[_Ended] = deque()
        self._under_way = 0
        self._wake: Waiter = current().waiter()

    def __len__(self) -> int:
        return len(self._waiting) + self._under_way

    def add(self, delivery: Delivery, settlement: Settlement) -> None:
        """Settle that soon. Any thread may ask."""
        self._waiting.append(_Ended(delivery, settlement))
        self._wake.wake()

    async def serve(self, wait_s: float | None, is_over: Callable[[], bool]) -> None:
        """Settle what is added, until it is over; `wait_s` is how long a thread waits before it looks at that."""
        while not is_over():
            if not self._waiting:
                await self._wake.wait(wait_s)
                continue
            # One by one: threads add to it meanwhile.
            self._under_way = len(self._waiting)
            batch = [self._waiting.popleft() for _ in range(self._under_way)]
            try:
                await self._settle(batch)
            finally:
                self._under_way = 0
                self._settled()

    async def _settle(self, batch: Sequence[_Ended]) -> None:
        pause_s, is_in_doubt = _PAUSE_FIRST_S, False
        while batch:
            try:
                answers = await self._queue.settle([ended.settlement for ended in batch])
            except BackendError as error:
                is_in_doubt = is_in_doubt or isinstance(error, OutcomeUnknown)
            except Exception:  # noqa: BLE001 - whatever a store raises for what it cannot keep
                await self._refused(batch)
                return
            else:
                # A repeat of a settlement that was made, and whose reply was lost, is answered with False too.
                if not is_in_doubt:
                    _tell_lost(ended for ended, is_settled in zip(batch, answers, strict=True) if not is_settled)
                return
            until_s = SYSTEM.monotonic() + pause_s
            _tell_lost(ended for ended in batch if ended.delivery.until_s <= until_s)
            batch = [ended for ended in batch if ended.delivery.until_s > until_s]
            await current().sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    async def _refused(self, batch: Sequence[_Ended]) -> None:
        """One that the queue refuses must not keep the others from being settled."""
        if len(batch) == 1:
            _log.exception("message %r of %r was not settled", batch[0].delivery.claimed.id, self._queue.name)
            return
        for ended in batch:
            await self._settle((ended,))


def _tell_lost(batch: Iterable[_Ended]) -> None:
    for ended in batch:
        ended.delivery.lost()
