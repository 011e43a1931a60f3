"""Keep a lease by renewing it while the work runs.

```
lease      |--------- 30 s ---------|
renewed            ^ at 1/3: |--------- 30 s ---------|
not renewed        ^   ^ ^ ^ ^ again and again, until the lease is over ---> lost: the work is cancelled
```

An idempotency claim, a lease, a job's message and the driver of a saga are all held like this. The time
is counted on this machine from before the store was asked, so a holder gives up before the store does.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.runtime import Company, Waiter, current
from sdpatterns.errors import BackendError

__all__ = ["Heartbeat"]

T = TypeVar("T")

_WAIT_MIN_S = 0.001


async def _not_any_more() -> bool:
    return False


class Heartbeat:
    """Renews a lease at each third of it, and ends the work when the lease is lost.

    `renew` asks the store; it gives False where another holder has it. `lost` makes the exception that
    says why it was lost.

    **Keeps**: the work is cancelled (where the runtime can interrupt it) at the latest when the lease
    ends, also when the store does not answer. **May fail** with what `lost` made.
    **Costs** a timer for work that ends within a third of the lease; then a task, or a thread, and one
    `renew` for each third, ten times as many while the store is away.
    """

    __slots__ = ("_beats", "_company", "_make_lost", "_pid", "_renew", "_stop", "lease_s", "lost", "until_s")

    def __init__(
        self, lease_s: float, until_s: float, renew: Callable[[], Awaitable[bool]], lost: Callable[[str], Exception]
    ) -> None:
        self.lease_s = lease_s
        self.until_s = until_s
        """The monotonic second at which the lease ends."""
        self.lost: Exception | None = None
        """Why it is lost; None as long as it is not known to be."""
        self._renew = renew
        self._make_lost = lost
        self._pid = os.getpid()
        self._beats = True
        self._stop: Waiter | None = None
        self._company: Company | None = None

    @property
    def left_s(self) -> float:
        """Seconds of lease; negative when it is over."""
        return self.until_s - SYSTEM.monotonic()

    @property
    def is_inherited(self) -> bool:
        """Whether the lease belongs to a process from which this one was forked. Then it is not this one's to end."""
        return self._pid != os.getpid()

    def lose(self, why: str) -> Exception:
        """Record that the lease is lost; gives the exception that says so."""
        self.lost = self._make_lost(why)
        return self.lost

    def end(self) -> None:
        """Stop renewing, because the lease was given back or is no longer needed."""
        self._beats = False
        if self._stop is not None:
            self._stop.wake()

    async def hold(
        self,
        work: Callable[[], Awaitable[T]],
        /,
        *,
        failed: Callable[[Exception], Awaitable[None]],
        cut_off: Callable[[], Awaitable[None]],
    ) -> T:
        """Run the work while the lease is renewed.

        `failed` is called where the work itself raises, `cut_off` where it is cancelled or interrupted, and
        neither of them where the lease was lost: then there is nothing left to give back. Nor where a child that was
        forked in the work leaves it.
        """
        try:
            return await current().beside(work, self._beat, after_s=self._due_s)
        except Exception as error:
            if error is not self.lost and not self.is_inherited:
                await failed(error)
            raise
        except BaseException:
            if not self.is_inherited:
                await cut_off()
            raise

    def let_go(self) -> None:
        """Forget what renews, because there is no work any more.

        If that belongs to the owner of this heartbeat, each keeps the other, so that only the garbage collector frees
        them; with thousands of short works it would run all the time.
        """
        self._renew = _not_any_more

    async def begin(self) -> None:
        """Renew from now on, beside the calling task: for the body of an `async with`. `finish` ends it."""
        self._company = await current().accompany(self._beat, after_s=self._due_s)

    async def finish(self, error: BaseException | None, /) -> BaseException | None:
        """The body ended, by `error` or well: renew no longer. Gives what the block has to raise, or None."""
        self.end()
        company, self._company = self._company, None
        return error if company is None else await company.end(error)

    @property
    def _due_s(self) -> float:
        return self.until_s - SYSTEM.monotonic() - self.lease_s * 2 / 3

    async def _beat(self, stop: Waiter) -> None:
        """Begins when the first third has gone."""
        self._stop = stop
        while self._beats:
            pause_s = self._due_s if await self._renewed() else min(self.lease_s / 30, self.left_s)
            if await stop.wait(max(pause_s, _WAIT_MIN_S)):
                return

    async def _renewed(self) -> bool:
        """Whether the lease moved on; False where the store was away and there is time to ask it again."""
        sent_s = SYSTEM.monotonic()
        try:
            is_held = await current().beside(self._renew, self._at_the_end, after_s=self.left_s)
        except BackendError as error:
            # With less than the shortest pause left, the pause would end after the lease, and the work with it.
            if self.left_s <= _WAIT_MIN_S:
                raise self.lose(str(error)) from error
            return False
        if is_held:
            self.until_s = sent_s + self.lease_s
        elif self._beats:
            raise self.lose("another holder has it")
        return is_held

    async def _at_the_end(self, _: Waiter) -> None:
        # A renewal without an answer must not outlive the lease that it is meant to renew.
        raise self.lose("the store did not answer while the lease lasted")
