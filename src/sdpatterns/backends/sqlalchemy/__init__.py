"""SQL through SQLAlchemy: SQLite as the embedded default, Postgres for fleets."""

try:
    import sqlalchemy as _sqlalchemy  # noqa: F401 - asked for early, so that its absence is one clear line
except ImportError as missing:
    raise ImportError('the SQL backend needs SQLAlchemy: pip install "sdpatterns[sqlalchemy]"') from missing

from sdpatterns.backends.sqlalchemy.backend import SQLBackend
from sdpatterns.backends.sqlalchemy.queue import SQLQueue
from sdpatterns.backends.sqlalchemy.signals import SQLSignals
from sdpatterns.backends.sqlalchemy.states import SQLStates
from sdpatterns.backends.sqlalchemy.tables import SCHEMA_VERSION, metadata
from sdpatterns.backends.sqlalchemy.within import SQLView

__all__ = ["SCHEMA_VERSION", "SQLBackend", "SQLQueue", "SQLSignals", "SQLStates", "SQLView", "metadata"]
