"""From an older schema to that of this release, one version at a time.

| from | to | what changes |
|---|---|---|
| 0 | 1 | `sdp_schema` counts notifications in a column, `bell` |
| 1 | 2 | that column is called `notified` |
| 2 | 3 | `sdp_messages` and `sdp_parked` hold the messages of queues |
| 3 | 4 | `sdp_events`, `sdp_streams` and `sdp_logs` hold the events of logs |

A database without a version was made by the migrations of its owner, from `metadata`: it is accepted if every
column is there. Versions 0 and 1 are from before the first release.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import insert, inspect, select, update
from sqlalchemy.engine import Connection

from sdpatterns.backends.sqlalchemy.engine.failures import masked
from sdpatterns.backends.sqlalchemy.tables import SCHEMA, SCHEMA_VERSION, metadata
from sdpatterns.errors import UnknownVersion

__all__ = ["check_schema", "is_current", "migrate"]

_STEPS: Sequence[Sequence[str]] = (
    ("ALTER TABLE sdp_schema ADD COLUMN bell BIGINT NOT NULL DEFAULT 0",),
    ("ALTER TABLE sdp_schema RENAME COLUMN bell TO notified",),
    (),  # new tables, which `create_all` makes
    (),
)
"""What leads from version n, its place here, to the next one. Both databases understand each statement."""


def is_current(connection: Connection) -> bool:
    """Whether there is nothing to make and nothing to migrate. It only reads."""
    there = inspect(connection).get_table_names()
    return set(metadata.tables) <= set(there) and _version(connection) == SCHEMA_VERSION


def migrate(connection: Connection) -> tuple[int | None, int]:
    """Make the tables, or bring older ones up to date; the version found and the version now.

    Call it in a transaction that excludes every other one of its kind. Raises `UnknownVersion` for a newer schema.
    """
    found = _version(connection) if inspect(connection).has_table(SCHEMA.name) else None
    _refuse_newer(connection, found)
    for version in range(SCHEMA_VERSION if found is None else found, SCHEMA_VERSION):
        for statement in _STEPS[version]:
            connection.exec_driver_sql(statement)
    # Also after the steps: a table that a newer version adds has no step of its own.
    metadata.create_all(connection)
    # The tables may have been there without a version: then `create_all` has made nothing, and they may be older.
    if found is None:
        _check_columns(connection)
        connection.execute(insert(SCHEMA).values(id=1, version=SCHEMA_VERSION))
    elif found < SCHEMA_VERSION:
        connection.execute(update(SCHEMA).values(version=SCHEMA_VERSION))
    return found, SCHEMA_VERSION


def check_schema(connection: Connection) -> None:
    """Refuse tables that are not those of this release. Raises `UnknownVersion` with the command that helps."""
    found = _version(connection)
    _refuse_newer(connection, found)
    if found is None:
        _check_columns(connection)
    elif found < SCHEMA_VERSION:
        raise UnknownVersion(
            f"the tables in {_shown(connection)} have schema version {found} and this release of sdpatterns needs"
            f" {SCHEMA_VERSION}: call `await backend.create()` once, or run"
            " `python -m sdpatterns.backends.sqlalchemy URL`"
        )


def _version(connection: Connection) -> int | None:
    return connection.execute(select(SCHEMA.c.version)).scalar()


def _refuse_newer(connection: Connection, found: int | None) -> None:
    if found is not None and found > SCHEMA_VERSION:
        raise UnknownVersion(
            f"the tables in {_shown(connection)} have schema version {found} and this release of"
            f" sdpatterns knows {SCHEMA_VERSION}: upgrade sdpatterns"
        )


def _check_columns(connection: Connection) -> None:
    inspector = inspect(connection)
    tables = set(inspector.get_table_names())
    fix = (
        "and no schema version: bring it up to date with your migrations, from"
        " `sdpatterns.backends.sqlalchemy.metadata`"
    )
    for table in metadata.sorted_tables:
        there = {column["name"] for column in inspector.get_columns(table.name)} if table.name in tables else set()
        missing = [column.name for column in table.columns if column.name not in there]
        if there and missing:
            raise UnknownVersion(f"the table {table.name} in {_shown(connection)} has no column {missing[0]!r} {fix}")
    absent = sorted(set(metadata.tables) - tables)
    if absent:
        raise UnknownVersion(f"the database {_shown(connection)} has no table {absent[0]} {fix}")


def _shown(connection: Connection) -> str:
    return masked(connection.engine.url)
