"""Drive runs: each by one worker at a time, and by another one where that one dies."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

from sdpatterns.core.carried import CORRELATION, trace_in
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.context import correlation_id, trace
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.core.runtime import Waiter, current
from sdpatterns.core.tracing import TRACERS, Opened
from sdpatterns.errors import BackendError, CodecError, EventsTrimmed, VersionConflict
from sdpatterns.messaging.consumer import Consumer, Delivery
from sdpatterns.messaging.saga.drive import Drive, version_of
from sdpatterns.messaging.saga.journal import (
    EntryNotWritten,
    Journal,
    RunBroken,
    RunEnded,
    RunParked,
    RunStarted,
    RunStatus,
    decoded,
    owner_of,
)
from sdpatterns.messaging.saga.notices import SagaEnded, SagaLost, SagaParked
from sdpatterns.messaging.saga.retention import DROPPED, JournalDropper, kept_for_s
from sdpatterns.messaging.saga.run import SagaRun, Suspended
from sdpatterns.messaging.saga.sagas import WAKER, Saga, Sagas
from sdpatterns.messaging.saga.writer import JournalWriter, load
from sdpatterns.ports.log import RecordedEvent
from sdpatterns.ports.queue import Claimed, Complete, Message, Park, Requeue, Settlement

__all__ = ["SagaWorker"]

_UNKNOWN_VERSION_S = 60.0
_WOKEN_LATER_S = 366 * 86_400.0
_START_WITHIN_US = 5_000_000
_START_FIRST_US = 20_000
_WAKE_AGAIN_S = 0.05
_WAKE_AGAIN_MAX_S = 2.0
_FLUSH_MAX_S = 5.0
_CRASHES_MAX = 20


class SagaWorker(Consumer):
    """Drives the runs of one `Sagas`, up to `concurrency` at once: `async with worker:` or `await worker.run()`.

    Run as many as you like. A run goes on at most `lease_s` after its worker died. `service` names the service in the
    spans of its runs, as in `TracingMiddleware`. What it keeps and costs is said in
    `Consumer` and in `Sagas`.
    """

    def __init__(
        self,
        sagas: Sagas,
        *,
        concurrency: int = 50,
        lease_s: float = 8.0,
        poll_s: float = 5.0,
        drain_s: float = 30.0,
        service: str | None = None,
    ) -> None:
        super().__init__(
            sagas.name, sagas.queue, sagas.signals,
            concurrency=concurrency, lease_s=lease_s, poll_s=poll_s, drain_s=drain_s,
        )  # fmt: skip
        self._sagas = sagas
        self._service = service
        self._dropper: JournalDropper | None = None
        if sagas.keep_s is not None:
            self._dropper = JournalDropper(sagas, lease_s=lease_s, poll_s=poll_s, drain_s=drain_s)

    async def work(self, stop: Waiter, /) -> None:
        """Drive runs until `stop` wakes, and drop the journals of those that ended long enough ago."""
        async with contextlib.AsyncExitStack() as stack:
            if self._dropper is not None:
                await stack.enter_async_context(self._dropper)
            await super().work(stop)

    async def run_due(self) -> int:
        """Do all that is due, as in `Consumer`; the journals that are to be dropped count too."""
        done = await super().run_due()
        return done if self._dropper is None else done + await self._dropper.run_due()

    def deliver(self, claimed: Claimed, until_s: float, /) -> Delivery:
        """A run, or a message that wakes one."""
        if claimed.payload == WAKER:
            return WakeDelivery(self._sagas, claimed, self.lease_s, until_s)
        return RunDelivery(self._sagas, claimed, self.lease_s, until_s, self._service)


class WakeDelivery(Delivery):
    """Makes the driver of a run due, as soon as no worker has it."""

    def __init__(self, sagas: Sagas, claimed: Claimed, lease_s: float, until_s: float) -> None:
        super().__init__(sagas.queue, claimed, lease_s, until_s)
        self._sagas = sagas

    async def handle(self) -> Settlement:
        """Wake it, or try again soon."""
        run_id = self.claimed.headers["run"]
        journal = Journal()
        await self.insist(partial(load, self._sagas.log, run_id, journal))
        if journal.ended is not None or journal.parked is not None:
            return Complete(self.claimed)
        is_due = False

        async def wake() -> None:
            nonlocal is_due
            [is_due] = await self._sagas.queue.publish((self._sagas.driver(run_id, replace=True),))

        await self.insist(wake)
        if is_due:
            return Complete(self.claimed)
        return Requeue(self.claimed, min(_WAKE_AGAIN_S * self.claimed.attempt, _WAKE_AGAIN_MAX_S))

    def lost(self) -> None:
        """Another worker has it, and wakes the run."""


class RunDelivery(Delivery):
    """Drives one run as far as it goes now."""

    def __init__(
        self, sagas: Sagas, claimed: Claimed, lease_s: float, until_s: float, service: str | None = None
    ) -> None:
        super().__init__(sagas.queue, claimed, lease_s, until_s)
        self._sagas = sagas
        self._service = service
        self._claimed_s = SYSTEM.monotonic()
        self._journal = journal = Journal()
        # The fence is this worker's alone, so that no other one's entries have the same ids.
        owner = owner_of(claimed.fence, claimed.attempt)
        self._writer = JournalWriter(sagas.log, claimed.id, journal, owner, self.insist)

    @property
    def _now_us(self) -> int:
        """The store's time, as far as this machine can tell since the claim."""
        return self.claimed_us + round((SYSTEM.monotonic() - self._claimed_s) * 1_000_000)

    async def handle(self) -> Settlement:
        """Drive it; what is to become of its message."""
        try:
            return await self._driven()
        except EntryNotWritten as refusal:
            if isinstance(refusal.error, VersionConflict):
                # Another worker had it meanwhile: begin again with what that one has written.
                return Requeue(self.claimed, counts=False)
            raise refusal.error from None

    async def _driven(self) -> Settlement:
        claimed, journal = self.claimed, self._journal
        try:
            try:
                await self.insist(partial(load, self._sagas.log, claimed.id, journal))
                if journal.started is None and journal.ended is None:
                    await self._close_late_start()
                # It was claimed before: the worker that wrote the end died before it could say so.
                is_news = claimed.attempt > 1 or journal.ended is None
                if journal.ended is None:
                    await self._drive()
            except CodecError as error:
                raise RunBroken(str(error)) from error
            except EventsTrimmed:
                return await self._trimmed()
        except Suspended as wait:
            await self._writer.write()
            after_s = _WOKEN_LATER_S if wait.due_us is None else max(0.0, (wait.due_us - self._now_us) / 1_000_000)
            return Requeue(claimed, min(after_s, _WOKEN_LATER_S), counts=False)
        except RunBroken as broken:
            return await self._park(str(broken))
        await self._tell_ended(is_news=is_news)
        await self._retain(kept_for_s(journal, self._sagas.keep_s, self._now_us))
        return Complete(claimed)

    async def _close_late_start(self) -> None:
        """Close a run whose journal has not begun in time. Raises `Suspended` until then: its starter may be slower."""
        now_us = self._now_us
        waited_us = now_us - self.claimed.published_us
        if waited_us < _START_WITHIN_US:
            raise Suspended(now_us + max(_START_FIRST_US, waited_us), is_settled=True)
        # Once this entry is there, the starter's own is refused, and it is told.
        await self._writer.write(RunEnded(RunStatus.CLOSED.value, None))

    async def _drive(self) -> None:
        started = self._journal.started
        assert started is not None
        saga = self._found(started)
        # Only those that were lost since the journal moved on: a long run may lose one now and then.
        if self.claimed.attempt - max(1, self._journal.attempt) >= _CRASHES_MAX:
            raise RunBroken(f"{_CRASHES_MAX} workers lost the run one after another")
        args, kwargs = saga.arguments(started)
        run = SagaRun(self._sagas, self.claimed.id, saga.config, self._writer, lambda: self._now_us)
        correlation_id.set(started.headers.get(CORRELATION))
        if not TRACERS:
            trace.set(trace_in(started.headers))
            await self._run(saga, run, args, kwargs)
            return
        facts = {"messaging.destination.name": self._sagas.name, "messaging.message.id": run.id}
        if self._service is not None:
            facts["service.name"] = self._service
        with Opened(f"saga {saga.name}", "consumer", facts, parent=trace_in(started.headers)):
            await self._run(saga, run, args, kwargs)

    async def _run(self, saga: Saga[Any, Any], run: SagaRun, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            await Drive(saga, run, self._writer, lambda: self._now_us, self._notify).go(args, kwargs)
        except (Suspended, RunBroken, EntryNotWritten):
            raise
        except BaseException:
            # Cancelled, as at the end of the worker: what is done need not be done again.
            with contextlib.suppress(Exception, EntryNotWritten):
                await current().shield(self._writer.write, at_most_s=_FLUSH_MAX_S)
            raise

    def _found(self, started: RunStarted) -> Saga[Any, Any]:
        saga = version_of(self._sagas, started)
        if saga is None:
            # A worker of a newer release has it.
            raise Suspended(self._now_us + round(_UNKNOWN_VERSION_S * 1_000_000), is_settled=True)
        return saga

    async def _retain(self, keep_s: float | None) -> None:
        """Let its journal be dropped after so long. A message of the queue of runs would count as work."""
        if keep_s is not None:
            dropped = Message(id=self.claimed.id, payload=DROPPED, delay_s=keep_s)

            async def publish() -> None:
                await self._sagas.retained.publish((dropped,))

            await self.insist(publish)

    async def _trimmed(self) -> Settlement:
        """Entries of it are gone: it was started again after its end, or `log.trim` was called."""
        newest: list[RecordedEvent] = []

        async def look() -> None:
            newest[:] = (await self._sagas.log.read(self.claimed.id, 0, 1, backwards=True)).events

        await self.insist(look)
        if newest and not isinstance(decoded(newest[0]), RunEnded):
            raise RunBroken("the beginning of its journal was trimmed, and it has not ended")
        if newest:
            await self._retain(0.0)
        return Complete(self.claimed)

    async def _park(self, reason: str) -> Settlement:
        if self._journal.started is not None:
            await self._writer.write(RunParked(reason))
        if LISTENERS:
            tell(SagaParked(name=self._sagas.name, saga=self._saga_name, id=self.claimed.id, reason=reason))
        return Park(self.claimed, reason)

    async def _notify(self) -> None:
        """Wake those that wait for its failure or its end."""
        with contextlib.suppress(BackendError):
            await self._sagas.signals.notify(self._sagas.ended_topic(self.claimed.id))

    async def _tell_ended(self, *, is_news: bool) -> None:
        """Tell those that wait for its end; again, where a worker died after the last entry."""
        ended, started = self._journal.ended, self._journal.started
        assert ended is not None
        if started is not None and started.parent:
            parent, name = started.parent
            failed = self._journal.failed
            value = ended.value if ended.status == RunStatus.COMPLETED else "" if failed is None else failed.reason

            async def tell_parent() -> None:
                await self._sagas.handle(parent).signal(name, [ended.status, value])

            await self.insist(tell_parent)
        await self._notify()
        if is_news and LISTENERS:
            tell(SagaEnded(
                name=self._sagas.name, saga=self._saga_name, id=self.claimed.id, status=ended.status,
                duration_s=max(0.0, (self._now_us - self.claimed.published_us) / 1_000_000),
            ))  # fmt: skip

    @property
    def _saga_name(self) -> str:
        started: RunStarted | None = self._journal.started
        return "?" if started is None else started.saga

    def lost(self) -> None:
        """Say so: another worker goes on."""
        if LISTENERS:
            tell(SagaLost(name=self._sagas.name, saga=self._saga_name, id=self.claimed.id))
