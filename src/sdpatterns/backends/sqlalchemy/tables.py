"""The tables, as SQLAlchemy metadata, for `backend.create()` or for Alembic.

```python
# alembic/env.py
from sdpatterns.backends.sqlalchemy import metadata
target_metadata = [my_own_metadata, metadata]
```
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    event,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection

__all__ = [
    "CELLS", "EVENTS", "LOGS", "MESSAGES", "PARKED", "SCHEMA", "SCHEMA_VERSION", "STREAMS", "metadata",
]  # fmt: skip

SCHEMA_VERSION = 4
"""The version of these tables. A change of them needs a step in `migrations`."""

metadata = MetaData()
"""Every table of this backend."""

# Keys are compared and ordered as bytes: cheaper than a language's rules, and the same everywhere.
_KEY = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")

CELLS = Table(
    "sdp_cells",
    metadata,
    Column("space", _KEY, primary_key=True),
    Column("key", _KEY, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("state", LargeBinary, nullable=False),
    Column("last_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
    Index("sdp_cells_expires", "expires_us"),
    sqlite_with_rowid=False,
)


@event.listens_for(CELLS, "after_create")
def _leave_room(_table: Table, connection: Connection, **_: object) -> None:
    # On each page for the next version of a row, so that most updates touch no index.
    if connection.dialect.name == "postgresql":
        connection.execute(text("ALTER TABLE sdp_cells SET (fillfactor = 80)"))


_DUE, _LATER = (text(f"state = {state}") for state in (0, 1))
_HAS_KEY = text("key IS NOT NULL")

MESSAGES = Table(
    "sdp_messages",
    metadata,
    Column("queue", _KEY, primary_key=True),
    Column("id", _KEY, primary_key=True),
    # The order of messages of one key, and of those that are due at the same time.
    Column("number", BigInteger, Identity(always=True), nullable=False),
    Column("key", _KEY),
    Column("tenant", _KEY, nullable=False),
    # 0: due; 1: due later, after a delay or when a lease ends; 2: behind another one of its key.
    Column("state", SmallInteger, nullable=False),
    # Whether the last worker that claimed it may still settle it, also when its lease is over.
    Column("is_leased", Boolean, nullable=False),
    Column("due_us", BigInteger, nullable=False),
    Column("rank_us", BigInteger, nullable=False),
    Column("order_us", BigInteger, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("published_us", BigInteger, nullable=False),
    # Without one it is a marker: it stands for its key, until the next message of it can be made due.
    Column("payload", LargeBinary),
    Column("headers", Text),
    Index(
        "sdp_messages_due", "queue", "tenant", "order_us", "number",
        postgresql_where=_DUE, sqlite_where=_DUE,
    ),
    Index("sdp_messages_later", "queue", "due_us", postgresql_where=_LATER, sqlite_where=_LATER),
    Index("sdp_messages_key", "queue", "key", "number", postgresql_where=_HAS_KEY, sqlite_where=_HAS_KEY),
    sqlite_with_rowid=False,
)  # fmt: skip
"""Messages of all queues that wait or are leased."""

PARKED = Table(
    "sdp_parked",
    metadata,
    Column("position", BigInteger().with_variant(Integer, "sqlite"), Identity(always=True), primary_key=True),
    Column("queue", _KEY, nullable=False),
    Column("id", _KEY, nullable=False),
    Column("key", _KEY),
    Column("tenant", _KEY, nullable=False),
    Column("rank_us", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("published_us", BigInteger, nullable=False),
    Column("parked_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("headers", Text),
    UniqueConstraint("queue", "id", name="sdp_parked_id"),
    Index("sdp_parked_position", "queue", "position"),
    Index("sdp_parked_expires", "queue", "expires_us"),
    # A position is never used twice.
    sqlite_autoincrement=True,
)
"""Dead letters of all queues."""


@event.listens_for(MESSAGES, "after_create")
def _clean_up_soon(_table: Table, connection: Connection, **_: object) -> None:
    # Each message leaves two dead rows, however few are there: by a share of the table Postgres would come too late.
    if connection.dialect.name == "postgresql":
        settings = "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000"
        connection.execute(text(f"ALTER TABLE sdp_messages SET ({settings}, autovacuum_vacuum_cost_delay = 0)"))


EVENTS = Table(
    "sdp_events",
    metadata,
    Column("log", _KEY, primary_key=True),
    # Postgres numbers all logs together; in SQLite each counts by itself, in `sdp_logs`.
    Column("position", BigInteger, Identity(always=True), primary_key=True),
    Column("stream", _KEY, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("id", _KEY, nullable=False),
    Column("type", _KEY, nullable=False),
    Column("recorded_us", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("metadata", Text),
    UniqueConstraint("log", "stream", "version", name="sdp_events_version"),
    sqlite_with_rowid=False,
)
"""Events of all logs."""

STREAMS = Table(
    "sdp_streams",
    metadata,
    Column("log", _KEY, primary_key=True),
    Column("stream", _KEY, primary_key=True),
    Column("version", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""The newest version of each stream, also where its events are no longer kept; in SQLite only of such streams."""

LOGS = Table(
    "sdp_logs",
    metadata,
    Column("log", _KEY, primary_key=True),
    # The last one given out before the last trim, in SQLite.
    Column("position", BigInteger, nullable=False),
    # Up to where all events, and those of single streams, were dropped.
    Column("trimmed", BigInteger, nullable=False),
    Column("thinned", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""What is known of a log as a whole; there is no row before the first trim."""


@event.listens_for(STREAMS, "after_create")
def _leave_room_for_versions(_table: Table, connection: Connection, **_: object) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("ALTER TABLE sdp_streams SET (fillfactor = 80)"))


SCHEMA = Table(
    "sdp_schema",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    # Counted up to change a SQLite file when there is a notification to send and nothing to write.
    Column("notified", BigInteger, nullable=False, server_default="0"),
)
