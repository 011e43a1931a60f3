"""Claim messages and work on each of them.

```
        +--> claim for the free places, half of all at most --> a task for each: handle --> all that ended: settle
loop ---+
        +--> wait: a place became free, the queue's topic was notified, the next message is due, or poll_s
```
"""

from __future__ import annotations

import contextlib
import logging
from abc import abstractmethod
from functools import partial

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.ranges import number, whole
from sdpatterns.core.runtime import BLOCKING, Group, Runtime, Waiter, current
from sdpatterns.core.service import Service
from sdpatterns.errors import BackendError
from sdpatterns.messaging.consumer.delivery import Delivery
from sdpatterns.messaging.consumer.places import GROW_AFTER_S, Places
from sdpatterns.messaging.consumer.settling import Settling
from sdpatterns.messaging.wakeups import wake_on_signals, wake_on_stop
from sdpatterns.ports.push import Credit, PushQueue
from sdpatterns.ports.queue import Claimed, Claims, MessageQueue, Requeue
from sdpatterns.ports.signals import SignalBus

__all__ = ["Consumer"]

_log = logging.getLogger("sdpatterns")

_PAUSE_FIRST_S = 0.05
_LISTEN_S = 0.25
_GIVE_BACK_MAX_S = 5.0
_CLAIM_MIN = 10
"""Fewer places than that are claimed at once. Of more a half, so that one half works while the other is fetched."""


class Consumer(Service):
    """Works on the messages of one queue, up to `concurrency` at once.

    **Keeps**: a message's lease is renewed while it is worked on, so that it is handed to no other worker; work
    whose lease is lost is cancelled, and its late settlement changes nothing. At the end of the block it claims no
    more, and what runs has `drain_s` seconds; what is cancelled then goes back to the queue and does not count as
    an attempt.
    While the store is away it waits, and goes on afterwards.
    **Costs** one claim for half of its places, or for those that are free; one settlement for all messages whose work
    ended meanwhile; and one look at the queue each `poll_s` when there is nothing to do.
    """

    def __init__(
        self,
        name: str,
        queue: MessageQueue,
        signals: SignalBus | None,
        *,
        concurrency: int,
        concurrency_min: int | None = None,
        lease_s: float,
        poll_s: float,
        drain_s: float,
    ) -> None:
        super().__init__(name, drain_s=drain_s)
        self.queue = queue
        self.concurrency = whole("concurrency", concurrency, 1, 10_000)
        least = self.concurrency if concurrency_min is None else concurrency_min
        self._places = Places(whole("concurrency_min", least, 1, self.concurrency, of="concurrency"), self.concurrency)
        self.lease_s = number("lease_s", lease_s, 1.0, 86_400.0)
        self.poll_s = number("poll_s", poll_s, 0.01, 3600.0)
        self._signals = signals
        self._running: set[Delivery] = set()
        self._settling: Settling | None = None
        self._is_stopping = False
        self._is_over = False
        self._is_away = False
        self._rests = False
        self._delivered = 0
        self._asked_s = float("-inf")
        self._wake: Waiter | None = None
        self._credit: Credit | None = None

    @abstractmethod
    def deliver(self, claimed: Claimed, until_s: float, /) -> Delivery:
        """The work on one message, whose lease this machine holds until that monotonic second."""

    @property
    def runtime(self) -> Runtime | None:
        """The runtime that the backend's I/O needs."""
        return self.queue.runtime

    @property
    def running(self) -> int:
        """How many messages are worked on now."""
        return len(self._running)

    async def begin(self) -> None:
        """What has to be done before the first claim, and again while it fails because the store is away."""
        return

    async def is_paused(self) -> bool:
        """Asked each `poll_s`: whether nothing is to be claimed for now."""
        return False

    @property
    def places(self) -> int:
        """How many messages may be worked on at once now."""
        return self._places.now

    async def run_due(self) -> int:
        """Work on all that is due, and on what becomes due meanwhile; then return how many messages that were.

        For tests, and for a program that a timer starts. It finds nothing to do in a queue that is paused.
        Raises RuntimeError where this consumer runs already.
        """
        if self._group is not None:
            raise RuntimeError(f"service {self.name!r} runs already")
        self._delivered = 0
        await self._work(None)
        return self._delivered

    async def work(self, stop: Waiter, /) -> None:
        """Claim and work until `stop` wakes; then finish what runs."""
        await self._work(stop)

    async def _work(self, stop: Waiter | None) -> None:
        """Until `stop` wakes; without it, until nothing is due."""
        runtime = current()
        self._wake = wake = runtime.waiter()
        self._settling = settling = Settling(self.queue, wake.wake)
        self._is_stopping = self._is_over = False
        self._asked_s = float("-inf")
        if stop is not None and isinstance(self.queue, PushQueue):
            self._credit = self.queue.credit(wake.wake)
        wait_s = _LISTEN_S if runtime is BLOCKING else None
        async with runtime.group() as group:
            if stop is not None:
                group.start(partial(wake_on_stop, stop, self._stop_claiming, lambda: self._is_over))
            # Without the signals it still looks each `poll_s`.
            if self._signals is not None:
                group.start(partial(
                    wake_on_signals, self._signals, self.queue.topic, wake.wake, lambda: self._is_over, self.poll_s
                ))  # fmt: skip
            group.start(partial(settling.serve, wait_s, lambda: self._is_over, lambda: self._is_stopping))
            try:
                await self._serve(group, wake, settling, is_endless=stop is not None)
            finally:
                try:
                    await self._push_no_more()
                finally:
                    self._credit = None
                    self._is_over = True
                    group.cancel()

    async def _push_no_more(self) -> None:
        """Take the credit back, and give back what was pushed. A cancellation does not come between."""
        credit = self._credit
        if credit is None:
            return

        async def give_back() -> None:
            await credit.close()
            pushed = credit.pushed()
            if pushed:
                with contextlib.suppress(BackendError):
                    await self.queue.settle([Requeue(claimed, counts=False) for claimed, _ in pushed])

        with contextlib.suppress(TimeoutError):
            await current().shield(give_back, at_most_s=_GIVE_BACK_MAX_S)

    async def _serve(self, group: Group, wake: Waiter, settling: Settling, *, is_endless: bool) -> None:
        pause_s, has_begun = _PAUSE_FIRST_S, False
        while not self._is_stopping or self._running or len(settling):
            self._places.grow(SYSTEM.monotonic())
            if self._credit is not None:
                await self._take_pushed(self._credit, group)
            # None: until work ends, or messages are settled, or the service is stopped.
            wait_s = GROW_AFTER_S if self._places.may_grow else None
            # Those that wait to be settled hold no place, but a store that is slow must not let them pile up.
            # One that does not take settlements gets no more work out either, which would only have to be done again.
            free = 0 if settling.is_away else self._places.now - max(len(self._running), len(settling))
            if free > 0 and not self._is_stopping:
                was_idle = not self._running and not len(settling)
                most = min(free, max(_CLAIM_MIN, (self._places.now + 1) // 2))
                claims = await self._claim(most, has_begun=has_begun)
                if claims is None:
                    await self._pause(wake, pause_s)
                    pause_s = min(2 * pause_s, self.poll_s)
                    continue
                pause_s, has_begun = _PAUSE_FIRST_S, True
                wait_s = self._start(group, claims, most)
                if most < free and len(claims[0].messages) == most:
                    continue
                if not is_endless:
                    if was_idle and not claims[0].messages:
                        return
                    wait_s = None if self._running or len(settling) else 0.0
            if wait_s is None or wait_s > 0:
                await wake.wait(wait_s)

    async def _take_pushed(self, credit: Credit, group: Group) -> None:
        """Run what was pushed. A worker that stops, while it finishes what runs, must not be pushed any more."""
        if self._is_stopping:
            await self._push_no_more()
            return
        for claimed, until_s in credit.pushed():
            self._run(group, claimed, until_s)

    async def _pause(self, wake: Waiter, seconds: float) -> None:
        """Leave a store that is away alone, whatever else happens, unless the worker is to stop."""
        until_s = SYSTEM.monotonic() + seconds
        while not self._is_stopping and (left_s := until_s - SYSTEM.monotonic()) > 0:
            await wake.wait(left_s)

    async def _claim(self, free: int, *, has_begun: bool) -> tuple[Claims, float] | None:
        """Claims, and when this machine asked for them; None where the store is away."""
        try:
            if not has_begun:
                await self.begin()
            asked_s = SYSTEM.monotonic()
            if asked_s - self._asked_s >= self.poll_s:
                self._rests, self._asked_s = await self.is_paused(), asked_s
            if self._rests:
                await self._push_no_more()
                return Claims((), None), asked_s
            claims = await (self._credit or self.queue).claim(free, self.lease_s)
        except BackendError as error:
            if not self._is_away:
                _log.warning("consumer of %r waits for its store: %s", self.name, error)
            self._is_away = True
            return None
        self._is_away = False
        return claims, asked_s

    def _start(self, group: Group, found: tuple[Claims, float], free: int) -> float | None:
        """Run them; how long to wait before the next look, None for as long as no place is free."""
        claims, asked_s = found
        for claimed in claims.messages:
            self._run(group, claimed, asked_s + self.lease_s)
        is_full = len(claims.messages) == free
        self._places.claimed(asked_s, is_full=is_full)
        if is_full:
            return GROW_AFTER_S if self._places.may_grow else None
        return self.poll_s if claims.due_in_s is None else min(claims.due_in_s, self.poll_s)

    def _run(self, group: Group, claimed: Claimed, until_s: float) -> None:
        delivery = self.deliver(claimed, until_s)
        self._running.add(delivery)
        self._delivered += 1
        group.start(partial(self._go, delivery))

    async def _go(self, delivery: Delivery) -> None:
        assert self._wake is not None
        assert self._settling is not None
        try:
            settlement = await delivery.go()
            if settlement is not None:
                self._settling.add(delivery, settlement)
        except Exception:  # noqa: BLE001 - one message's failure must not end the others
            _log.exception("message %r of %r was not settled", delivery.claimed.id, self.name)
        finally:
            self._running.discard(delivery)
            self._wake.wake()

    def _stop_claiming(self) -> None:
        self._is_stopping = True
        assert self._wake is not None
        self._wake.wake()
