"""What a process of ordering leaves behind that dies in the middle of an order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.backends.sqlalchemy.within import SQLView
from sdpatterns.messaging.saga import Sagas
from sdpatterns.messaging.saga.journal import Entry, encoded
from sdpatterns.ports.log import NewEvent
from shop.database import Database
from shop.ordering.defences import decided_again, order_events, order_store
from shop.ordering.events import OutboxPublisher
from shop.ordering.orders import Orders
from shop.pattern_backend import pattern_tables


class Desk:
    """Ordering's database, open beside the shop or after it was closed; it takes no step of any order."""

    def __init__(self, database: Database, backend: SQLBackend, now_us: Callable[[], int]) -> None:
        publisher = OutboxPublisher(order_events(backend))
        self._sagas = Sagas("orders", backend=backend)
        self.orders = Orders(
            database, backend, order_store(backend), publisher=lambda: publisher, again=decided_again(), now_us=now_us
        )

    def started(self, run_id: str, *journal: Entry) -> Callable[[SQLView], Awaitable[None]]:
        """Begins a saga whose journal has gone so far."""

        async def start(view: SQLView) -> None:
            written = enumerate(encoded(entry) for entry in journal)
            events = [NewEvent(id=f"{run_id}.{place}", type=kind, data=data) for place, (kind, data) in written]
            await view.log(self._sagas.log.name).append(run_id, 0, events)
            await view.queue(self._sagas.queue.name).publish((self._sagas.driver(run_id),))

        return start

    @classmethod
    @asynccontextmanager
    async def opened(cls, data_dir: Path, now_us: Callable[[], int]) -> AsyncIterator[Desk]:
        """The database of the shop with this data."""
        path = data_dir / "ordering.sqlite3"
        database = Database(path)  # without the checks of a start: the shop may be at work
        try:
            async with pattern_tables(path) as backend:
                yield cls(database, backend, now_us)
        finally:
            await database.close()
