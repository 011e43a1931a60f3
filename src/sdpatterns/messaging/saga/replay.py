"""Run today's code over recorded journals: does a run that was under way when the code changed still go on?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sdpatterns.errors import CodecError, ReplayFailed
from sdpatterns.messaging.saga.drive import Drive, version_of
from sdpatterns.messaging.saga.journal import Entry, Journal, RunBroken, RunStarted, StepRecord
from sdpatterns.messaging.saga.recording import read_recording, recordings_in
from sdpatterns.messaging.saga.run import SagaRun, Suspended

if TYPE_CHECKING:
    from sdpatterns.messaging.saga.sagas import Sagas

__all__ = ["replay"]

R = TypeVar("R")

_AFTER_ALL_WAITS_US = 2**62


async def replay(sagas: Sagas, directory: Path) -> list[Path]:
    """See `Sagas.replay`."""
    paths = recordings_in(directory)
    found = {str(path): await _difference(sagas, path) for path in paths}
    differences = {path: text for path, text in found.items() if text is not None}
    if differences:
        raise ReplayFailed(sagas.name, len(paths), differences)
    return paths


async def _difference(sagas: Sagas, path: Path) -> str | None:
    """Why a run with that journal would be parked; None where it goes on, at whatever entry a worker takes it over."""
    try:
        run_id, entries = read_recording(path)
        for length in range(1, len(entries) + 1):
            await _driven(sagas, run_id, entries[:length])
    except (RunBroken, CodecError) as broken:
        return str(broken)
    return None


async def _driven(sagas: Sagas, run_id: str, entries: Sequence[Entry]) -> None:
    journal = Journal()
    for entry in entries:
        journal.apply(entry)
    started = journal.started
    assert isinstance(started, RunStarted)
    saga = version_of(sagas, started)
    if saga is None:
        raise RunBroken(f"the code has no version {started.version} of {started.saga!r}")
    arguments = saga.arguments(started)
    writer = ReplayWriter(journal)
    run = ReplayRun(sagas, run_id, saga.config, writer, _now_us)
    try:
        await Drive(saga, run, writer, _now_us).go(*arguments)
    except Suspended:
        # It has come to the end of the journal: from here on a worker would go on.
        return


def _now_us() -> int:
    return _AFTER_ALL_WAITS_US


class ReplayWriter:
    """Stops the run where it would write an entry."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def note(self, entry: Entry) -> None:
        """Stop here."""
        raise Suspended(None, is_settled=False)

    async def write(self, *entries: Entry) -> None:
        """Stop here, unless there is nothing to write."""
        for entry in entries:
            self.note(entry)


class ReplayRun(SagaRun):
    """Runs no step: what is not in the journal does not happen."""

    async def attempt(self, name: str, record: StepRecord, function: Callable[[], Awaitable[R]]) -> R:
        """Stop here."""
        raise Suspended(None, is_settled=False)

    async def undo(self, name: str) -> None:
        """Stop here."""
        raise Suspended(None, is_settled=False)
