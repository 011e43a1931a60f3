"""What keeps the connections of one loop, or of the threads of a program without one."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, TypeVar

from sqlalchemy.engine import Connection

from sdpatterns.backends.sqlalchemy.engine.dialect import Unit
from sdpatterns.backends.sqlalchemy.engine.transactions import Transaction
from sdpatterns.ports.pressure import Usage

__all__ = ["APART_MAX", "Connections", "Kept", "discard", "driver_of"]

T = TypeVar("T")

APART_MAX = 4
"""How many units may wait for rows at once, each on a connection of its own."""


class Connections(Protocol):
    """Runs units: one connection is kept for those that wait for nothing, and a few more for those that may wait."""

    shown: str
    """The database's URL, fit to be shown."""
    timeout_s: float
    """How long one flush may wait for the database."""
    usage: Usage
    """Its connections that are at work, and how often one failed."""

    @property
    def capacity(self) -> int:
        """How many may be at work at once."""
        ...

    @property
    def waits_for_rows(self) -> bool:
        """Whether a unit can wait for a row alone. False where the file is held as a whole."""
        ...

    async def run(self, unit: Unit, /) -> None:
        """Run the unit on the one connection that is kept for that; one unit at a time."""

    async def run_apart(self, unit: Unit, /) -> None:
        """Run it on a connection of its own, where it may wait for a row. At most four at once."""

    def is_moving(self) -> bool:
        """Whether those who hold what a unit waited for get on, so that waiting again makes sense."""
        ...


class Kept(NamedTuple):
    """A blocking connection on which units run one after another."""

    connection: Connection
    tx: Transaction


def driver_of(connection: Connection) -> Any:
    """The driver's own connection."""
    # Not `driver_connection`: a connection that was detached from its pool has none.
    return connection.connection.dbapi_connection


def discard(connection: Connection) -> None:
    """Close it for good."""
    # Given back it would go to a pool that may be disposed of by now, and that closes nothing any more.
    connection.detach()
    connection.close()
