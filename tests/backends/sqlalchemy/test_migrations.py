"""An older schema is migrated by `create()` and refused until then; what is in its tables stays."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, text

from sdpatterns.backends.sqlalchemy import SQLBackend, metadata
from sdpatterns.backends.sqlalchemy.__main__ import main
from sdpatterns.backends.sqlalchemy.engine.dialect import Dialect
from sdpatterns.backends.sqlalchemy.postgres.dialect import PostgresDialect
from sdpatterns.backends.sqlalchemy.sqlite.dialect import SQLiteDialect
from sdpatterns.backends.sqlalchemy.tables import MESSAGES, PARKED, SCHEMA_VERSION
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.runtime import finish
from sdpatterns.errors import UnknownVersion
from sdpatterns.ports.log import NewEvent
from sdpatterns.ports.queue import Message
from sdpatterns.ports.states import Space
from sdpatterns.testing.contracts.steps import Look

CELLS = """CREATE TABLE sdp_cells (
  space {text} NOT NULL, key {text} NOT NULL, version BIGINT NOT NULL, state {blob} NOT NULL,
  last_us BIGINT NOT NULL, expires_us BIGINT NOT NULL, PRIMARY KEY (space, key))"""
INDEX = "CREATE INDEX sdp_cells_expires ON sdp_cells (expires_us)"
SCHEMAS = {
    0: "CREATE TABLE sdp_schema (id INTEGER PRIMARY KEY, version INTEGER NOT NULL)",
    1: "CREATE TABLE sdp_schema (id INTEGER PRIMARY KEY, version INTEGER NOT NULL, bell BIGINT NOT NULL DEFAULT 0)",
    2: "CREATE TABLE sdp_schema (id INTEGER PRIMARY KEY, version INTEGER NOT NULL, notified BIGINT NOT NULL DEFAULT 0)",
}
SCHEMAS[3] = SCHEMAS[2]
FAR_US = 1 << 60


@pytest.fixture
def database(blocking_url: str) -> Iterator[Engine]:
    """An empty database of each kind."""
    if "sqlite" in blocking_url:
        engine = create_engine(blocking_url)
        yield engine
        engine.dispose()
        return
    admin = create_engine(blocking_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS migrated WITH (FORCE)"))
        connection.execute(text("CREATE DATABASE migrated"))
    engine = create_engine(admin.url.set(database="migrated"))
    yield engine
    engine.dispose()
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE migrated WITH (FORCE)"))
    admin.dispose()


def url_of(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def dialect_of(engine: Engine) -> Dialect:
    return SQLiteDialect() if engine.dialect.name == "sqlite" else PostgresDialect()


def make_old(engine: Engine, version: int) -> None:
    """The tables as that version made them, with a cell in them."""
    kinds = {"text": "TEXT", "blob": "BLOB"}
    if engine.dialect.name == "postgresql":
        kinds = {"text": 'TEXT COLLATE "C"', "blob": "BYTEA"}
    if version >= 3:
        metadata.create_all(engine, tables=[MESSAGES, PARKED])
    with engine.begin() as connection:
        for statement in (CELLS.format(**kinds), INDEX, SCHEMAS[version]):
            connection.execute(text(statement))
        connection.execute(text("INSERT INTO sdp_schema (id, version) VALUES (1, :version)"), {"version": version})
        connection.execute(
            text("INSERT INTO sdp_cells VALUES ('old', 'key', 7, :state, 1, :far)"),
            {"state": IntegersCodec().encode((41,)), "far": FAR_US},
        )


def read(url: str) -> object:
    with SQLBackend(url) as backend:
        return finish(backend.states.cells(Space("old", IntegersCodec())).transact("key", Look()))


def version_of(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT version FROM sdp_schema")).scalar_one())


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_an_older_schema_is_refused_with_the_command_to_run(database: Engine, version: int) -> None:
    make_old(database, version)
    with pytest.raises(UnknownVersion, match=rf"version {version} .* needs {SCHEMA_VERSION}: call `await backend.crea"):
        read(url_of(database))
    assert version_of(database) == version


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_create_migrates_an_older_schema_with_its_data(database: Engine, version: int) -> None:
    make_old(database, version)
    for turn in range(2):
        with SQLBackend(url_of(database)) as backend:
            finish(backend.create())
            # The column of the second migration is in use: this notification has no cell to write.
            finish(backend.signals.notify("topic"))
            # And so are the tables of the third.
            assert finish(backend.queue("jobs").publish([Message(id="a", payload=b"")])) == [turn == 0]
            assert finish(backend.queue("jobs").parked(1)) == []
            # And those of the fourth.
            event = NewEvent(id=f"{turn}", type="noted", data=b"")
            assert finish(backend.log("events").append("a", turn, [event])).version == turn + 1
    assert version_of(database) == SCHEMA_VERSION
    assert read(url_of(database)) == (41,)


def test_a_start_that_finds_all_tables_waits_for_no_other_one(database: Engine) -> None:
    with SQLBackend(url_of(database)) as backend:
        assert finish(backend.migrate()) == (None, SCHEMA_VERSION)
    with database.connect() as migrating:
        dialect_of(database).begin_alone(migrating)  # a process that migrates for as long as it likes
        with SQLBackend(url_of(database), timeout_s=0.5) as backend:
            assert finish(backend.migrate()) == (SCHEMA_VERSION, SCHEMA_VERSION)


def test_create_makes_a_table_that_is_missing_beside_the_others(database: Engine) -> None:
    with SQLBackend(url_of(database)) as backend:
        finish(backend.create())
        PARKED.drop(database)
        finish(backend.create())
        assert finish(backend.queue("jobs").parked(1)) == []


def test_a_migration_that_fails_leaves_the_old_schema(database: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from sdpatterns.backends.sqlalchemy.engine import migrations

    make_old(database, 0)
    steps = (*migrations._STEPS[:1], ("ALTER TABLE sdp_schema RENAME COLUMN missing TO notified",))
    monkeypatch.setattr(migrations, "_STEPS", steps)
    with SQLBackend(url_of(database)) as backend, pytest.raises(Exception, match="missing"):
        finish(backend.create())
    assert version_of(database) == 0
    with database.connect() as connection, pytest.raises(Exception, match="bell"):
        connection.execute(text("SELECT bell FROM sdp_schema"))


def test_tables_without_a_version_are_used_if_every_column_is_there(database: Engine) -> None:
    metadata.create_all(database)  # as a migration of the user's own does it
    assert read(url_of(database)) is None


def test_tables_without_a_version_and_without_a_column_are_refused(database: Engine) -> None:
    make_old(database, 1)
    with database.begin() as connection:
        connection.execute(text("DELETE FROM sdp_schema"))
    with pytest.raises(UnknownVersion, match=r"sdp_schema .* has no column 'notified' and no schema version"):
        read(url_of(database))
    with SQLBackend(url_of(database)) as backend, pytest.raises(UnknownVersion, match="your migrations"):
        finish(backend.create())


def test_tables_without_a_version_of_which_one_is_missing_are_refused(database: Engine) -> None:
    metadata.create_all(database)
    with database.begin() as connection:
        connection.execute(text("DROP TABLE sdp_parked"))
    with pytest.raises(UnknownVersion, match="no table sdp_parked and no schema version"):
        read(url_of(database))


def test_the_command_makes_and_migrates_tables(database: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    url = url_of(database)
    make_old(database, 0)
    assert main([url]) == 0
    assert f"migrated from schema version 0 to {SCHEMA_VERSION}" in capsys.readouterr().out
    assert main([url.replace("+psycopg", "+asyncpg")]) == 0
    assert f"nothing to do, schema version {SCHEMA_VERSION}" in capsys.readouterr().out
    with database.begin() as connection:
        connection.execute(text("DROP TABLE sdp_schema, sdp_cells" if "postgres" in url else "DROP TABLE sdp_schema"))
    assert main([url]) == 0
    assert f"the tables are there now, schema version {SCHEMA_VERSION}" in capsys.readouterr().out
    with database.begin() as connection:
        connection.execute(text("UPDATE sdp_schema SET version = 99"))
    assert main([url]) == 1
    assert "upgrade sdpatterns" in capsys.readouterr().err
    assert main(["oracle://somewhere"]) == 1
    assert "the database must be sqlite or postgresql" in capsys.readouterr().err


def test_the_command_runs_as_a_module(sqlite_path: object) -> None:
    command = [sys.executable, "-m", "sdpatterns.backends.sqlalchemy", f"sqlite:///{sqlite_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"the tables are there now, schema version {SCHEMA_VERSION}" in done.stdout
