"""One message while it is worked on: its lease is renewed until it is known what is to become of it.

```
claimed --> handle --> settled by the consumer, with others        the lease is renewed beside the handler
   |          |
   |          +--> lease lost: cancelled, nothing is settled
   +--> worker stopped: given back, and not counted as an attempt
```
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial

from sdpatterns.core.carried import DEADLINE
from sdpatterns.core.heartbeat import Heartbeat
from sdpatterns.core.runtime import current
from sdpatterns.errors import BackendError, ClaimLost
from sdpatterns.ports.queue import Claimed, MessageQueue, Requeue, Settlement

__all__ = ["Delivery"]

_GIVE_BACK_MAX_S = 5.0
_PAUSE_FIRST_S = 0.05
_PAUSE_MAX_S = 1.0


class _ToldToStop(Exception):
    """The work on this message is no longer wanted."""


def _lost(queue: str, message: str, _why: str) -> Exception:
    return ClaimLost(queue, message)


class Delivery(ABC):
    """Works on one message. A kind of consumer says by `handle` what that is."""

    def __init__(self, queue: MessageQueue, claimed: Claimed, lease_s: float, until_s: float) -> None:
        self.claimed = claimed
        self._queue = queue
        self._heartbeat = Heartbeat(lease_s, until_s, self._renew, partial(_lost, queue.name, claimed.id))

    @abstractmethod
    async def handle(self) -> Settlement:
        """Do the work; what is to become of the message. Raises no `Exception` that was foreseen."""

    async def is_to_stop(self) -> bool:
        """Asked at each renewal: whether the work is no longer wanted."""
        return False

    async def stopped(self) -> Settlement:
        """What is to become of a message whose work was stopped so."""
        return Requeue(self.claimed)

    @abstractmethod
    def lost(self) -> None:
        """Called when the lease ended before the message was settled."""

    async def go(self) -> Settlement | None:
        """Handle; what is to become of the message, None where that is for another worker to say."""
        try:
            return await self._heartbeat.hold(self.handle, failed=_leave_it, cut_off=self._give_back)
        except _ToldToStop:
            return await self.stopped()
        except ClaimLost:
            self.lost()
            return None
        finally:
            self._heartbeat.let_go()

    @property
    def until_s(self) -> float:
        """The monotonic second at which the lease ends."""
        return self._heartbeat.until_s

    @property
    def lease_s(self) -> float:
        """How long a renewal holds."""
        return self._heartbeat.lease_s

    @property
    def due_s(self) -> float:
        """The monotonic second at which a third of the lease is over, so that it is to be renewed."""
        return self._heartbeat.until_s - self._heartbeat.lease_s * 2 / 3

    def renewed(self, until_s: float) -> None:
        """Its lease was renewed after the work had ended, because it is not settled yet."""
        self._heartbeat.until_s = until_s

    @property
    def claimed_us(self) -> int:
        """When it was claimed, by the store's clock."""
        return self.claimed.leased_until_us - round(self._heartbeat.lease_s * 1_000_000)

    def deadline_left_s(self) -> float | None:
        """Seconds until the deadline in its headers when it was claimed, by the store's clock; None without one."""
        given = self.claimed.headers.get(DEADLINE)
        if given is None:
            return None
        return (self.claimed.published_us - self.claimed_us) / 1_000_000 + int(given) / 1000

    async def insist(self, step: Callable[[], Awaitable[None]]) -> None:
        """Make a step that may be repeated, again and again while the store is away and the lease lasts."""
        pause_s = _PAUSE_FIRST_S
        while True:
            try:
                return await step()
            except BackendError as error:
                if self._heartbeat.left_s <= pause_s:
                    raise _lost(self._queue.name, self.claimed.id, str(error)) from error
            await current().sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    async def _renew(self) -> bool:
        [is_held] = await self._queue.extend((self.claimed,), self._heartbeat.lease_s)
        if is_held and await self.is_to_stop():
            raise _ToldToStop
        return is_held

    async def _give_back(self) -> None:
        async def give_back() -> None:
            with contextlib.suppress(BackendError):
                await self._queue.settle((Requeue(self.claimed, counts=False),))

        await current().shield(give_back, at_most_s=_GIVE_BACK_MAX_S)


async def _leave_it(_error: Exception) -> None:
    """What the work raised is raised by `go`; the lease ends by itself."""
