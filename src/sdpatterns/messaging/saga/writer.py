"""Append to the journal of a run, as its owner."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from sdpatterns.core.forks import new_lock
from sdpatterns.core.runtime import Waiter, current
from sdpatterns.errors import VersionConflict
from sdpatterns.messaging.saga.journal import EXTERNAL, Entry, EntryNotWritten, Journal, decoded, encoded
from sdpatterns.ports.log import EventLog, NewEvent

__all__ = ["EntryWriter", "JournalWriter", "load"]

_PAGE = 500


async def load(log: EventLog, stream: str, journal: Journal) -> None:
    """Read what was appended behind the journal's version."""
    while True:
        page = await log.read(stream, journal.version, _PAGE)
        journal.read(page.events)
        if journal.version >= page.version or not page.events:
            return


class EntryWriter(Protocol):
    """What a run needs to write its journal: see `JournalWriter`."""

    journal: Journal

    def note(self, entry: Entry) -> None:
        """Append it with the next entry that is written. Raises TypeError for a value that cannot be stored."""
        ...

    async def write(self, *entries: Entry) -> None:
        """Append all that was noted, and these."""
        ...


class JournalWriter:
    """Appends entries in the order in which they are given, one append at a time.

    `note` leaves an entry for the next append, so that the end of a step and the beginning of the next cost one trip.
    `insist` makes a call again while the store is away. Raises `EntryNotWritten` where that took longer than the lease,
    or where another owner has appended.
    """

    def __init__(
        self,
        log: EventLog,
        stream: str,
        journal: Journal,
        owner: str,
        insist: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]],
    ) -> None:
        self.journal = journal
        self._log = log
        self._stream = stream
        self._owner = owner
        self._insist = insist
        # Branches that run side by side are threads where there is no loop.
        self._lock = new_lock()
        self._pending: list[tuple[Entry, str, bytes]] = []
        self._noted = 0
        self._written = 0
        self._busy = False
        self._waiting: list[Waiter] = []

    def note(self, entry: Entry) -> None:
        kind, data = encoded(entry)
        with self._lock:
            self._pending.append((entry, kind, data))
            self._noted += 1

    async def write(self, *entries: Entry) -> None:
        for entry in entries:
            self.note(entry)
        with self._lock:
            mine = self._noted
        while self._written < mine:
            waiter = self._turn()
            if waiter is not None:
                await waiter.wait()
                continue
            try:
                await self._append()
            except Exception as error:
                raise EntryNotWritten(error) from error
            finally:
                self._leave()

    def _turn(self) -> Waiter | None:
        """None where it is this caller's turn to append, else what wakes it."""
        with self._lock:
            if not self._busy:
                self._busy = True
                return None
            waiter = current().waiter()
            self._waiting.append(waiter)
            return waiter

    def _leave(self) -> None:
        with self._lock:
            self._busy = False
            woken, self._waiting = self._waiting, []
        for waiter in woken:
            waiter.wake()

    async def _append(self) -> None:
        with self._lock:
            batch = list(self._pending)
        if not batch:
            return
        while True:
            version = self.journal.version
            # With the owner in the id: an append of two owners behind one version must not be taken for a repeated one.
            events = [
                NewEvent(id=f"{self._owner}.{version + place}", type=kind, data=data)
                for place, (_, kind, data) in enumerate(batch, 1)
            ]
            try:
                await self._insist(partial(self._appended, version, events))
                break
            except VersionConflict:
                await self._insist(self._take_in)
        for entry, _, _ in batch:
            self.journal.apply(entry)
        self.journal.version += len(batch)
        with self._lock:
            del self._pending[: len(batch)]
            self._written += len(batch)

    async def _appended(self, version: int, events: list[NewEvent]) -> None:
        await self._log.append(self._stream, version, events)

    async def _take_in(self) -> None:
        """Read what others have appended meanwhile. Raises `VersionConflict` where that was an owner's entry."""
        page = await self._log.read(self._stream, self.journal.version, _PAGE)
        for event in page.events:
            if not isinstance(decoded(event), EXTERNAL):
                raise VersionConflict(self._log.name, self._stream, self.journal.version, page.version)
        self.journal.read(page.events)
