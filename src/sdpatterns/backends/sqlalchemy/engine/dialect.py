"""What differs between databases whatever the port, and how one unit of work is run in a transaction.

```
unit --> BEGIN, if it needs one --> its statements --> COMMIT, or ROLLBACK where it lost a race --> clean up
```
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Protocol, TypeAlias

from sqlalchemy.engine import Connection

from sdpatterns.backends.sqlalchemy.engine.transactions import Transaction

__all__ = ["Announce", "Dialect", "Unit", "payload", "run_unit", "say_nothing"]

Announce: TypeAlias = Callable[[Sequence[str]], None]
"""Wakes those who wait for these topics, soon. It neither waits nor fails, and a signal may be lost."""

_PAYLOAD_BYTES_MAX = 1000


class Unit(Protocol):
    """What one flush does: the steps of many callers, or whatever else a port does at once."""

    reads: bool
    """Whether it writes nothing."""
    is_whole: bool
    """Whether its statements need one transaction around them on every database."""
    doubt: bool
    """Whether something is on its way whose reply would be the only news of it."""
    fresh: bool
    """Whether the connection was made for it, so that its failure is no old connection's."""
    topics: Sequence[str]
    """What to announce once it is durable; empty where it was not kept."""

    async def run(self, tx: Transaction, /, *, in_transaction: bool) -> bool:
        """Do it; whether to keep what was done."""
        ...

    async def clean_up(self, tx: Transaction, /) -> None:
        """What is to be done now and then, after it was kept. Never raises an `Exception`."""


class Dialect(Protocol):
    """What one database understands. `shift_us` moves its time, for tests."""

    name: str
    shift_us: int

    def begin(self, unit: Unit, /) -> str | None:
        """How to begin the transaction that the unit needs; None where one statement is enough."""

    def begin_alone(self, connection: Connection, /) -> None:
        """Begin a transaction that waits for every other one begun like this."""

    def join(self, connection: Connection, /) -> None:
        """Make sure that the caller's transaction has begun in the database as well."""

    async def notify_at_commit(self, tx: Transaction, topics: Sequence[str], /) -> None:
        """Announce in the transaction itself. For one of which nobody hears that it has committed."""


async def run_unit(dialect: Dialect, tx: Transaction, unit: Unit, announce: Announce) -> None:
    """Run the unit on a connection that commits each statement by itself, and announce what it says once it is durable.

    After an exception the connection is of no more use: to close it ends a transaction more surely than `ROLLBACK`,
    which a server that no longer answers would not answer either.
    """
    begin = dialect.begin(unit)
    try:
        if begin is None:
            await unit.run(tx, in_transaction=False)
        else:
            await tx.execute(begin)
            is_kept = await unit.run(tx, in_transaction=True)
            # Only a commit can have happened though its reply is lost.
            unit.doubt = is_kept
            await tx.execute("COMMIT" if is_kept else "ROLLBACK")
            unit.doubt = False
    except BaseException:
        # If it happened after all, nothing else would announce it: a repeat may find nothing left to wake for.
        if unit.doubt:
            announce(unit.topics)
        raise
    if unit.topics:
        announce(unit.topics)
    await unit.clean_up(tx)


def say_nothing(_: Sequence[str]) -> None:
    """See `Announce`: for units without topics."""


def payload(topic: str) -> str:
    """The topic as a notification carries it: long or unprintable for Postgres, it is a digest."""
    raw = topic.encode("utf-8", "surrogatepass")
    if len(raw) > _PAYLOAD_BYTES_MAX or b"\x00" in raw or not raw.isascii():
        return f"#{blake2b(raw, digest_size=24).hexdigest()}"
    return f"={topic}"
