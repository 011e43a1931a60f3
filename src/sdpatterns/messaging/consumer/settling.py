"""Settle messages together: those whose work ended while the last settlement was on its way.

```
work ends --> add --+
work ends --> add --+--> one call of `settle` ---> its answers: settled, or lost to another worker
                    ^         |
                    |         +--> the store is away: back to the front, and again after a pause
                    +---------+    with what ended meanwhile; their leases are renewed until then
```
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.runtime import Waiter, current
from sdpatterns.errors import BackendError, BackendFull, BackendUnavailable, OutcomeUnknown
from sdpatterns.messaging.consumer.delivery import Delivery
from sdpatterns.ports.queue import MessageQueue, Settlement

__all__ = ["Settling"]

_log = logging.getLogger("sdpatterns")

_PAUSE_FIRST_S = 0.05
_PAUSE_MAX_S = 1.0


class _Ended:
    """Work that has ended, until the store has said what became of its message."""

    __slots__ = ("delivery", "is_alone", "is_in_doubt", "settlement")

    def __init__(self, delivery: Delivery, settlement: Settlement) -> None:
        self.delivery = delivery
        self.settlement = settlement
        self.is_in_doubt = False
        self.is_alone = False


class Settling:
    """The settlements of one consumer, a call at a time.

    **Keeps**: a settlement is sent until the store answers for it, and its lease is renewed meanwhile, so that no
    other worker does work that is done. When the consumer stops, the leases end, and with them the repeats.
    **Costs** no task and no timer for each message; one timer for each call, and one renewal of all that wait for
    each third of a lease, if it takes that long.
    """

    def __init__(self, queue: MessageQueue, settled: Callable[[], None]) -> None:
        self._queue = queue
        self._settled = settled
        self._waiting: deque[_Ended] = deque()
        self._under_way: list[_Ended] = []
        self._pause_s = 0.0
        self._is_stopping: Callable[[], bool] = lambda: False
        self._wake: Waiter = current().waiter()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._under_way)

    @property
    def is_away(self) -> bool:
        """Whether the store did not take the last settlements, so that no more work is to be begun."""
        return self._pause_s > 0

    def add(self, delivery: Delivery, settlement: Settlement) -> None:
        """Settle that soon. Any thread may ask."""
        self._waiting.append(_Ended(delivery, settlement))
        self._wake.wake()

    async def serve(self, wait_s: float | None, is_over: Callable[[], bool], is_stopping: Callable[[], bool]) -> None:
        """Settle what is added, until it is over; `wait_s` is how long a thread waits before it looks at that."""
        self._is_stopping = is_stopping
        while not is_over():
            if not self._waiting:
                await self._wake.wait(wait_s)
                continue
            self._under_way = self._taken()
            due_s = min(ended.delivery.due_s for ended in self._under_way)
            await current().beside(self._turn, self._keep, after_s=max(0.0, due_s - SYSTEM.monotonic()))

    async def _turn(self) -> None:
        """One call, and a pause where the store did not take it."""
        try:
            await self._attempt(self._under_way)
        finally:
            self._under_way = []
            self._settled()
        if self.is_away:
            await current().sleep(self._pause_s)

    def _taken(self) -> list[_Ended]:
        """The next call's: all that wait, or one that goes alone."""
        taken = [self._waiting.popleft()]
        # One by one: threads add to it meanwhile.
        for _ in range(0 if taken[0].is_alone else len(self._waiting)):
            if self._waiting[0].is_alone:
                break
            taken.append(self._waiting.popleft())
        return taken

    async def _attempt(self, batch: Sequence[_Ended]) -> None:
        try:
            answers = await self._queue.settle([ended.settlement for ended in batch])
        except (BackendUnavailable, BackendFull, OutcomeUnknown) as error:
            for ended in batch:
                ended.is_in_doubt = ended.is_in_doubt or isinstance(error, OutcomeUnknown)
            self._again(batch)
            return
        except Exception:  # noqa: BLE001 - whatever a store raises for what it cannot keep
            self._refused(batch)
            return
        self._pause_s = 0.0
        for ended, is_settled in zip(batch, answers, strict=True):
            # A repeat of a settlement that was made, and whose reply was lost, is answered with False too.
            if not is_settled and not ended.is_in_doubt:
                ended.delivery.lost()

    def _again(self, batch: Sequence[_Ended]) -> None:
        """Back to the front. What ends meanwhile goes with it, because it must not wait for a store that is back."""
        self._pause_s = min(max(2 * self._pause_s, _PAUSE_FIRST_S), _PAUSE_MAX_S)
        until_s = SYSTEM.monotonic() + self._pause_s
        for ended in reversed(batch):
            if self._is_stopping() and ended.delivery.until_s <= until_s:
                ended.delivery.lost()
            else:
                self._waiting.appendleft(ended)

    def _refused(self, batch: Sequence[_Ended]) -> None:
        """One that the queue refuses must not keep the others from being settled: each goes alone now."""
        self._pause_s = 0.0
        if len(batch) == 1:
            _log.exception("message %r of %r was not settled", batch[0].delivery.claimed.id, self._queue.name)
            return
        for ended in reversed(batch):
            ended.is_alone = True
            self._waiting.appendleft(ended)

    async def _keep(self, stop: Waiter) -> None:
        """Renew the leases of what is not settled yet, each at a third of it, as a heartbeat does during the work.

        A consumer that stops renews none: where nothing can interrupt a thread, the end of the leases ends the repeats.
        """
        while not self._is_stopping():
            now_s, held = SYSTEM.monotonic(), [it.delivery for it in (*self._under_way, *self._waiting.copy())]
            due = [delivery for delivery in held if delivery.due_s <= now_s]
            if due:
                await self._renew(due, now_s)
            if await stop.wait(min([delivery.lease_s / 30 for delivery in held], default=_PAUSE_MAX_S)):
                return

    async def _renew(self, due: Sequence[Delivery], now_s: float) -> None:
        try:
            answers = await self._queue.extend([delivery.claimed for delivery in due], due[0].lease_s)
        except BackendError:
            return
        for delivery, is_held in zip(due, answers, strict=True):
            # False says nothing: it may be settled by now. What the store answers to `settle` decides.
            if is_held:
                delivery.renewed(now_s + delivery.lease_s)
