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
    insert,
    select,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection

from sdpatterns.backends.sqlalchemy.failures import masked
from sdpatterns.errors import UnknownVersion

__all__ = ["SCHEMA_VERSION", "metadata"]

SCHEMA_VERSION = 1
"""Written into `sdp_schema` by `create()`; a larger one in the database is refused."""

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
    # Rung to change the file when there is something to announce and nothing to write.
    Column("bell", BigInteger, nullable=False, server_default="0"),
)


def make_tables(connection: Connection) -> None:
    """Make what is missing and write the schema's version, once."""
    metadata.create_all(connection)
    check_version(connection)
    if connection.execute(select(SCHEMA.c.version)).first() is None:
        connection.execute(insert(SCHEMA).values(id=1, version=SCHEMA_VERSION))


def check_version(connection: Connection) -> None:
    """Refuse a database that a newer release has changed. Raises `UnknownVersion`."""
    found = connection.execute(select(SCHEMA.c.version)).scalar()
    if found is not None and found > SCHEMA_VERSION:
        raise UnknownVersion(
            f"the tables in {masked(connection.engine.url)} have schema version {found} and this release of"
            f" sdpatterns knows {SCHEMA_VERSION}: upgrade sdpatterns"
        )
