"""Run jobs from the queue.

```
        +--> claim as many as there are free places --> a task for each: handler, then settle
loop ---+
        +--> wait: a place became free, the queue's topic was notified, the next job is due, or poll_s
```
"""

from __future__ import annotations

import logging
from functools import partial

from anyio import CapacityLimiter

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.ranges import number, whole
from sdpatterns.core.runtime import BLOCKING, Group, Runtime, Waiter, current
from sdpatterns.core.service import Service
from sdpatterns.errors import BackendError
from sdpatterns.messaging.jobs.jobs import Jobs
from sdpatterns.messaging.jobs.run import JobRun
from sdpatterns.ports.queue import Claims

__all__ = ["Worker"]

_log = logging.getLogger("sdpatterns")

_PAUSE_FIRST_S = 0.05
_LISTEN_S = 0.25


class Worker(Service):
    """Runs the jobs of one `Jobs`, up to `concurrency` at once: `async with worker:` or `await worker.run()`.

    **Keeps**: a job's lease is renewed while its handler runs, so a long job is not run twice; a job whose lease is
    lost is cancelled, and its late settlement changes nothing. At the end of the block it claims no more, and what
    runs has `drain_s` seconds; what is cancelled then goes back to the queue and does not count as an attempt.
    While the store is away it waits and goes on afterwards.
    **Costs** one claim for each turn, one settlement for each job (the store folds those of one turn), and one look
    at the queue each `poll_s` when there is nothing to do.
    """

    def __init__(
        self,
        jobs: Jobs,
        *,
        concurrency: int = 50,
        lease_s: float = 8.0,
        poll_s: float = 5.0,
        drain_s: float = 30.0,
    ) -> None:
        super().__init__(jobs.name, drain_s=drain_s)
        self._jobs = jobs
        self.concurrency = whole("concurrency", concurrency, 1, 10_000)
        self.lease_s = number("lease_s", lease_s, 1.0, 86_400.0)
        self.poll_s = number("poll_s", poll_s, 0.01, 3600.0)
        self._runs: set[JobRun] = set()
        self._is_stopping = False
        self._is_over = False
        self._is_away = False
        self._wake: Waiter | None = None
        self._threads: CapacityLimiter | None = None

    @property
    def runtime(self) -> Runtime | None:
        """The runtime that the backend's I/O needs."""
        return self._jobs.runtime

    @property
    def running(self) -> int:
        """How many jobs run now."""
        return len(self._runs)

    async def work(self, stop: Waiter, /) -> None:
        """Claim and run until `stop` wakes; then finish what runs."""
        runtime = current()
        self._wake = wake = runtime.waiter()
        self._is_stopping = self._is_over = False
        self._threads = None if runtime is BLOCKING else CapacityLimiter(self.concurrency)
        async with runtime.group() as group:
            group.start(partial(self._await_stop, stop))
            group.start(self._listen)
            try:
                await self._serve(group, wake)
            finally:
                self._is_over = True
                group.cancel()

    async def _serve(self, group: Group, wake: Waiter) -> None:
        pause_s = _PAUSE_FIRST_S
        while not self._is_stopping or self._runs:
            # None: until a job ends or the worker is stopped.
            wait_s: float | None = None
            free = self.concurrency - len(self._runs)
            if free and not self._is_stopping:
                claims = await self._claim(free)
                if claims is None:
                    await self._pause(wake, pause_s)
                    pause_s = min(2 * pause_s, self.poll_s)
                    continue
                pause_s = _PAUSE_FIRST_S
                wait_s = self._start(group, claims, free)
            if wait_s is None or wait_s > 0:
                await wake.wait(wait_s)

    async def _pause(self, wake: Waiter, seconds: float) -> None:
        """Leave a store that is away alone, whatever else happens, unless the worker is to stop."""
        until_s = SYSTEM.monotonic() + seconds
        while not self._is_stopping and (left_s := until_s - SYSTEM.monotonic()) > 0:
            await wake.wait(left_s)

    async def _claim(self, free: int) -> tuple[Claims, float] | None:
        """Claims, and when this machine asked for them; None where the store is away."""
        asked_s = SYSTEM.monotonic()
        try:
            claims = await self._jobs.queue.claim(free, self.lease_s)
        except BackendError as error:
            if not self._is_away:
                _log.warning("worker of %r waits for its store: %s", self.name, error)
            self._is_away = True
            return None
        self._is_away = False
        return claims, asked_s

    def _start(self, group: Group, found: tuple[Claims, float], free: int) -> float | None:
        """Run them; how long to wait before the next claim, None for as long as no place is free."""
        claims, asked_s = found
        for claimed in claims.messages:
            run = JobRun(self._jobs, claimed, self.lease_s, asked_s + self.lease_s, self._threads)
            self._runs.add(run)
            group.start(partial(self._go, run))
        if len(claims.messages) == free:
            return None
        return self.poll_s if claims.due_in_s is None else min(claims.due_in_s, self.poll_s)

    async def _go(self, run: JobRun) -> None:
        try:
            await run.go()
        except Exception:  # noqa: BLE001 - one job's failure must not end the others
            _log.exception("job %r of %r could not be settled", run.id, self.name)
        finally:
            self._runs.discard(run)
            assert self._wake is not None
            self._wake.wake()

    async def _await_stop(self, stop: Waiter) -> None:
        # In a thread nothing can cancel the wait, so that it looks again.
        while not self._is_over and not await stop.wait(_LISTEN_S if current() is BLOCKING else None):
            pass
        self._is_stopping = True
        assert self._wake is not None
        self._wake.wake()

    async def _listen(self) -> None:
        """Wake the loop when something became due. Without the signals it still looks each `poll_s`."""
        assert self._wake is not None
        pause_s = _PAUSE_FIRST_S
        while not self._is_over:
            try:
                async with self._jobs.signals.subscribe(self._jobs.queue.topic) as subscription:
                    pause_s = _PAUSE_FIRST_S
                    self._wake.wake()
                    while not self._is_over:
                        if await subscription.wait(_LISTEN_S if current() is BLOCKING else None):
                            self._wake.wake()
            except BackendError:
                await current().sleep(pause_s)
                pause_s = min(2 * pause_s, self.poll_s)
