"""Run a saga's function over its journal, to its end or to where it waits, and undo what is done where it has failed.

A worker does this with a run that is under way, and a replay with a journal of a run that has ended.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from sdpatterns.core.error_codec import ErrorCodec
from sdpatterns.errors import BackendError
from sdpatterns.messaging.saga.journal import RunBroken, RunEnded, RunFailed, RunStarted, RunStatus
from sdpatterns.messaging.saga.run import SagaRun, Suspended
from sdpatterns.messaging.saga.writer import EntryWriter

if TYPE_CHECKING:
    from sdpatterns.messaging.saga.sagas import Saga, Sagas

__all__ = ["Drive", "version_of"]

_AWAY_US = 1_000_000


def version_of(sagas: Sagas, started: RunStarted) -> Saga[Any, Any] | None:
    """The code of a run; None where only a newer release has it. Raises `RunBroken` where it is gone."""
    saga = sagas.known.get((started.saga, started.version))
    if saga is not None:
        return saga
    have = sagas.versions_of(started.saga)
    if not have or started.version > have[-1]:
        return None
    raise RunBroken(f"version {started.version} of {started.saga!r} is gone from the code, which has {have}")


class Drive:
    """One run, for as long as it is driven: `await drive.go(...)`. `tell_failed` is called when it has failed."""

    def __init__(
        self,
        saga: Saga[Any, Any],
        run: SagaRun,
        writer: EntryWriter,
        now_us: Callable[[], int],
        tell_failed: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._saga = saga
        self._run = run
        self._writer = writer
        self._journal = writer.journal
        self._now_us = now_us
        self._tell_failed = tell_failed

    async def go(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Go on until it has ended. Raises `Suspended` where it waits, and `RunBroken` where a person is needed."""
        await self._forward(args, kwargs)
        if self._journal.ended is None:
            await self._backward()

    async def _forward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Run its function: to its end, or to its failure, which stands in the journal then."""
        journal = self._journal
        try:
            result = await self._saga.function(self._run, *args, **kwargs)
        except BackendError as error:
            # Outside of a step: a step's is judged where it is run. The store may be there again in a moment.
            raise Suspended(self._now_us() + _AWAY_US, is_settled=True) from error
        except Exception as error:  # noqa: BLE001 - the saga's failure
            await self._failed(error)
        except Suspended:
            # A run that has failed only asks for its steps again, so that they can be undone.
            if journal.failed is None:
                raise
        else:
            if journal.failed is None:
                self._run.check_all_asked("is at its end")
                await self._end(RunStatus.COMPLETED, self._saga.stored(result))

    async def _failed(self, error: Exception) -> None:
        if self._journal.failed is not None:
            return
        self._run.check_all_asked("fails")
        await self._writer.write()
        told = f"{type(error).__qualname__}: {error}"[:1000]
        if any(record.kind == "pivot" and record.is_done for record in self._journal.steps.values()):
            raise RunBroken(f"failed after its pivot: {told}")
        errors = ErrorCodec(self._saga.config.give_up_on, "give_up_on")
        data = b""
        if errors.knows(error):
            # One that cannot be stored is told by its text alone: the run has to be undone all the same.
            with contextlib.suppress(TypeError):
                data = errors.encode(error)
        await self._writer.write(RunFailed(told, data))
        if self._tell_failed is not None:
            await self._tell_failed()

    async def _backward(self) -> None:
        """Undo what is done, the last step first."""
        journal, run = self._journal, self._run
        for name in reversed(list(journal.done)):
            if journal.steps[name].is_undone:
                continue
            if name not in run.asked:
                raise RunBroken(f"the code has changed: it does not ask for {name!r}, which is to be undone")
            if name in run.undos:
                await run.undo(name)
        await self._end(RunStatus.UNDONE, None)

    async def _end(self, status: RunStatus, value: Any) -> None:
        try:
            await self._writer.write(RunEnded(status.value, value))
        except TypeError as error:
            raise RunBroken(f"its result cannot be stored: {error}") from error
