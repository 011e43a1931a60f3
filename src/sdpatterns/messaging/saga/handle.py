"""One run of a saga, from outside: how it is, its result, signals, and what an operator may do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.context import deadline_left_s
from sdpatterns.errors import DeadlineExceeded, EventsTrimmed, SagaDropped, SagaNotStarted, SagaUndone, VersionConflict
from sdpatterns.messaging.saga.journal import (
    CancelRequested,
    Entry,
    Journal,
    RunResumed,
    RunStatus,
    SignalReceived,
    encoded,
)
from sdpatterns.messaging.saga.writer import load
from sdpatterns.ports.log import NewEvent

if TYPE_CHECKING:
    from sdpatterns.messaging.saga.sagas import Sagas

__all__ = ["SagaHandle"]

R = TypeVar("R")

_LOOK_AGAIN_S = 5.0


class SagaHandle(Generic[R]):
    """A run, by its id. It need not have been started in this process."""

    __slots__ = ("_sagas", "id")

    def __init__(self, sagas: Sagas, run_id: str) -> None:
        self._sagas = sagas
        self.id = run_id

    async def journal(self) -> Journal:
        """What has happened in it. Raises `SagaDropped` where that is no longer kept."""
        journal = Journal()
        await self._load(journal)
        return journal

    async def _load(self, journal: Journal) -> None:
        try:
            await load(self._sagas.log, self.id, journal)
        except EventsTrimmed as error:
            raise SagaDropped(self._sagas.name, self.id) from error

    async def status(self) -> RunStatus:
        """How it is."""
        try:
            return (await self.journal()).status
        except SagaDropped:
            return RunStatus.DROPPED

    async def result(self, timeout_s: float, *, wait_for_undo: bool = True) -> R:
        """What its function returned, waiting for it.

        With `wait_for_undo=False` it raises `SagaUndone` as soon as the run has failed, while its steps are being
        undone: for a caller to whom the answer is enough.

        **May fail** with `SagaUndone`, `SagaNotStarted`, `SagaDropped`, or `DeadlineExceeded` where it has not ended in
        `timeout_s` or by the caller's deadline, as a run that is parked; it goes on then.
        **Costs** a read of the journal each time the run moves on, and a subscription, shared by all that wait in
        this process.
        """
        left_s = deadline_left_s()
        until_s = SYSTEM.monotonic() + (timeout_s if left_s is None else min(timeout_s, left_s))
        journal = Journal()
        async with self._sagas.signals.subscribe(self._sagas.ended_topic(self.id)) as subscription:
            while True:
                await self._load(journal)
                if journal.ended is not None or (journal.failed is not None and not wait_for_undo):
                    return cast("R", self._answer(journal))
                left_s = until_s - SYSTEM.monotonic()
                if left_s <= 0:
                    raise DeadlineExceeded(f"{self._sagas.name} {self.id}", timeout_s)
                # A wake-up may be lost, so that it looks again after a while.
                await subscription.wait(min(left_s, _LOOK_AGAIN_S))

    def _answer(self, journal: Journal) -> Any:
        if journal.ended is not None and journal.status is RunStatus.COMPLETED:
            saga = self._sagas.version_of(journal)
            return journal.ended.value if saga is None else saga.loaded(journal.ended.value)
        if journal.status is RunStatus.CLOSED:
            raise SagaNotStarted(self._sagas.name, self.id)
        reason = "" if journal.failed is None else journal.failed.reason
        raise SagaUndone(self._sagas.name, self.id, reason) from self._sagas.cause_of(journal)

    async def signal(self, name: str, value: Any = None) -> bool:
        """Send a value that the run waits for, or will wait for; False where the run has ended.

        The first value of a name counts, so a signal whose reply was lost is sent again. Raises `LookupError` where
        there is no such run, and TypeError for a value that would not come back as it is.
        """
        return await self._tell(SignalReceived(name, value), lambda journal: journal.ended is None)

    async def cancel(self, reason: str = "cancelled") -> bool:
        """Ask the run to stop at its next step and undo what it has done; False where it is too late for that.

        Too late is after its pivot has begun, after it has failed, and after its end.
        """
        entry = CancelRequested(reason)
        return await self._tell(entry, lambda it: it.ended is None and it.failed is None and not it.is_pivoted)

    async def resume(self) -> bool:
        """Let a run go on that was parked, with all its attempts; False where it was not parked."""
        if await self._tell(RunResumed(), lambda journal: journal.parked is not None):
            return True
        # A journal that cannot be read, or was never begun, does not say that it is parked.
        [is_redriven] = await self._sagas.queue.redrive((self.id,))
        return is_redriven

    async def _tell(self, entry: Entry, is_wanted: Callable[[Journal], bool]) -> bool:
        kind, data = encoded(entry)
        journal = Journal()
        while True:
            try:
                await self._load(journal)
            except SagaDropped:
                return False
            if journal.started is None and journal.ended is None:
                raise LookupError(f"there is no run {self.id!r} of {self._sagas.name!r}")
            if not is_wanted(journal):
                return False
            event = NewEvent(id=self._sagas.ids(), type=kind, data=data)
            try:
                await self._sagas.log.append(self.id, journal.version, (event,))
            except VersionConflict:
                # The run has moved on meanwhile.
                continue
            break
        await self._sagas.wake(self.id)
        return True

    def __repr__(self) -> str:
        return f"<SagaHandle {self.id!r} of {self._sagas.name!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SagaHandle) and (self._sagas.name, self.id) == (other._sagas.name, other.id)

    def __hash__(self) -> int:
        return hash((self._sagas.name, self.id))
