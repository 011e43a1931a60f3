"""SQL through SQLAlchemy: SQLite as the embedded default, Postgres for fleets."""

from sdpatterns.backends.sqlalchemy.backend import SQLBackend
from sdpatterns.backends.sqlalchemy.tables import SCHEMA_VERSION, metadata

__all__ = ["SCHEMA_VERSION", "SQLBackend", "metadata"]
