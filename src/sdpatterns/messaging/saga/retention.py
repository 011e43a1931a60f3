"""Drop the journals of runs that ended long enough ago.

A run that has ended is no work. So its message has a queue of its own, and the queue of the runs counts only those that
are to be driven.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sdpatterns.core.clock import SYSTEM
from sdpatterns.errors import CodecError, EventsTrimmed
from sdpatterns.messaging.consumer import Consumer, Delivery
from sdpatterns.messaging.saga.journal import Journal, RunStatus
from sdpatterns.messaging.saga.writer import load
from sdpatterns.ports.queue import DELAY_S_MAX, Claimed, Complete, Requeue, Settlement

if TYPE_CHECKING:
    from sdpatterns.messaging.saga.sagas import Sagas

__all__ = ["DROPPED", "JournalDropper", "kept_for_s"]

DROPPED = b"drop"
"""The payload of a message that is due when a journal is to be dropped; its id is the run's."""

_AT_ONCE = 10
_LOOK_S = 60.0
_LATER_S = 86_400.0


def kept_for_s(journal: Journal, keep_s: float | None, now_us: int) -> float | None:
    """For how long a journal is still kept; None where it is never dropped, as a run that is closed."""
    if keep_s is None or journal.ended is None or journal.status is RunStatus.CLOSED:
        return None
    ended_us = now_us if journal.ended_us is None else journal.ended_us
    return min(max(0.0, keep_s - (now_us - ended_us) / 1_000_000), DELAY_S_MAX)


class JournalDropper(Consumer):
    """Drops each journal `keep_s` after its run has ended, but not before its parent has."""

    def __init__(self, sagas: Sagas, *, lease_s: float, poll_s: float, drain_s: float) -> None:
        # No wake-ups: what is published here is not due for long, and may be dropped a minute late.
        super().__init__(
            sagas.retained.name, sagas.retained, None,
            concurrency=_AT_ONCE, lease_s=lease_s, poll_s=max(poll_s, _LOOK_S), drain_s=drain_s,
        )  # fmt: skip
        self._sagas = sagas

    def deliver(self, claimed: Claimed, until_s: float, /) -> Delivery:
        """A journal that may be dropped now."""
        return DropDelivery(self._sagas, claimed, self.lease_s, until_s)


class DropDelivery(Delivery):
    """Drops one journal."""

    def __init__(self, sagas: Sagas, claimed: Claimed, lease_s: float, until_s: float) -> None:
        super().__init__(sagas.retained, claimed, lease_s, until_s)
        self._sagas = sagas
        self._claimed_s = SYSTEM.monotonic()

    async def handle(self) -> Settlement:
        """Drop it, or look again when that is allowed."""
        journal = Journal()
        try:
            await self.insist(partial(load, self._sagas.log, self.claimed.id, journal))
            wait_s = await self._wait_s(journal)
        except EventsTrimmed:
            # A worker died while it dropped them.
            wait_s = 0.0
        except CodecError:
            # A later release wrote it, and reads it.
            wait_s = _LATER_S
        if wait_s > 0:
            return Requeue(self.claimed, wait_s, counts=False)
        await self.insist(self._drop)
        return Complete(self.claimed)

    async def _wait_s(self, journal: Journal) -> float:
        """How long it is still kept."""
        now_us = self.claimed_us + round((SYSTEM.monotonic() - self._claimed_s) * 1_000_000)
        left_s = kept_for_s(journal, self._sagas.keep_s, now_us)
        if left_s is None:
            return _LATER_S
        parent = None if journal.started is None else journal.started.parent
        if not left_s and parent and not await self._has_ended(parent[0]):
            # That one may still undo it.
            return _LATER_S
        return left_s

    async def _has_ended(self, run_id: str) -> bool:
        journal = Journal()
        try:
            await self.insist(partial(load, self._sagas.log, run_id, journal))
        except EventsTrimmed:
            return True
        return journal.ended is not None

    async def _drop(self) -> None:
        log, run_id = self._sagas.log, self.claimed.id
        newest = await log.read(run_id, 0, 1, backwards=True)
        await log.trim_stream(run_id, newest.version + 1)

    def lost(self) -> None:
        """Another worker has it, and drops it."""
