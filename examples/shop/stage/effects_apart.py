"""Tables whose position is committed apart from what events do to them: the undefended way, and a fault for both."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from sdpatterns.errors import BackendUnavailable
from sdpatterns.messaging.eventstore import StoredEvent
from shop.database import Database
from shop.stage.faults import CUT, FaultInjector

Effect: TypeAlias = Callable[[StoredEvent, AsyncConnection], Awaitable[None]]


def may_be_cut(effect: Effect, injector: FaultInjector) -> Effect:
    """An effect; the fault "cut" takes the database away before it."""

    async def cut_or_done(stored: StoredEvent, connection: AsyncConnection) -> None:
        if injector.strikes(CUT, time.monotonic()):
            raise BackendUnavailable("the connection was cut, on purpose")
        await effect(stored, connection)

    return cut_or_done


class EffectsApart:
    """Commits a position, and then has the effects, each in a transaction of its own: lost where it stops between."""

    def __init__(self, database: Database, effect: Effect) -> None:
        self._database = database
        self._effect = effect
        self._later: list[StoredEvent] | None = None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """The transaction of the position."""
        later: list[StoredEvent] = []
        self._later = later
        try:
            async with self._database.write() as connection:
                yield connection
        finally:
            self._later = None
        for stored in later:
            async with self._database.write() as connection:
                await self._effect(stored, connection)

    async def apply(self, stored: StoredEvent, connection: AsyncConnection) -> None:
        """Have the effect in this transaction; after it, where that is one of the position alone."""
        if self._later is None:
            await self._effect(stored, connection)
        else:
            self._later.append(stored)
