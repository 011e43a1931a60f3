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
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    event,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection

__all__ = ["CELLS", "SCHEMA", "SCHEMA_VERSION", "metadata"]

SCHEMA_VERSION = 2
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


SCHEMA = Table(
    "sdp_schema",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    # Counted up to change a SQLite file when there is a notification to send and nothing to write.
    Column("notified", BigInteger, nullable=False, server_default="0"),
)
