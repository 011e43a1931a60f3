"""From a URL or an engine to the engines that each loop and each process gets of its own."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sdpatterns.backends.sqlalchemy.engine.failures import masked
from sdpatterns.backends.sqlalchemy.sqlite.file import check_is_file, sqlite_engine
from sdpatterns.core.tracing import Value

__all__ = ["Database"]

_ASYNC_DRIVERS = {"sqlite": "aiosqlite", "postgresql": "asyncpg"}
_BLOCKING_DRIVERS = {"sqlite": "pysqlite", "postgresql": "psycopg"}

_POOL_SIZE = 5


class Database:
    """Makes engines on one database. An engine handed in is copied, settings and all, never used.

    A pool belongs to one loop and one process; the caller's belongs to the caller. Errors never show
    the parameters of a statement: a state may be secret.
    """

    def __init__(
        self, source: str | URL | Engine | AsyncEngine, *, blocking: bool | None, timeout_s: float, durable: bool
    ) -> None:
        if not isinstance(source, str | URL | Engine | AsyncEngine):
            raise TypeError(f"source must be a URL or an engine of SQLAlchemy, got {type(source).__name__}")
        self._given = source.sync_engine if isinstance(source, AsyncEngine) else source
        url = self._given.url if isinstance(self._given, Engine) else make_url(self._given)
        self.url, self.blocking = _with_driver(url, blocking=blocking)
        self.kind = self.url.get_backend_name()
        self.shown = masked(self.url)
        self._timeout_s = timeout_s
        self._durable = durable
        _check(self.url)

    @property
    def facts(self) -> dict[str, Value]:
        """What a span says of the database."""
        facts: dict[str, Value] = {"db.system.name": self.kind, "db.namespace": self.url.database or ""}
        if self.kind != "sqlite":
            facts |= {"server.address": self.url.host or "localhost", "server.port": self.url.port or 5432}
        return facts

    def make(self) -> Engine:
        """A blocking engine."""
        if self.kind == "sqlite":
            return sqlite_engine(self.url, timeout_s=self._timeout_s, durable=self._durable)
        # `recreate` copies the pool's settings, the way to connect among them, and none of its connections.
        if isinstance(self._given, Engine):
            engine = create_engine(self.url, pool=self._given.pool.recreate(), hide_parameters=True)
        else:
            # libpq has no bound for an answer; this one ends a wait for a network that swallows everything.
            bound = {
                "connect_timeout": max(2, round(self._timeout_s)),
                "tcp_user_timeout": round(2000 * self._timeout_s),
            }
            engine = create_engine(self.url, pool_size=_POOL_SIZE, connect_args=bound, hide_parameters=True)
        self._set_up(engine)
        return engine

    def make_async(self) -> AsyncEngine:
        """An engine for the running loop."""
        if isinstance(self._given, Engine):
            engine = create_async_engine(self.url, pool=self._given.pool.recreate(), hide_parameters=True)
        else:
            bound = {"timeout": self._timeout_s}
            engine = create_async_engine(self.url, pool_size=_POOL_SIZE, connect_args=bound, hide_parameters=True)
        self._set_up(engine.sync_engine)
        return engine

    def _set_up(self, engine: Engine) -> None:
        settings = {
            "lock_timeout": f"{round(self._timeout_s * 1000)}ms",
            # A client that is frozen in the middle of a step must not hold its rows without end.
            "idle_in_transaction_session_timeout": "30s",
            "synchronous_commit": "on" if self._durable else "off",
        }

        @event.listens_for(engine, "connect")
        def set_settings(connection: Any, _record: object) -> None:
            cursor = connection.cursor()
            for name, value in settings.items():
                cursor.execute(f"SET {name} = '{value}'")
            cursor.close()
            # Else the settings would go with the first rollback.
            connection.commit()


def _with_driver(url: URL, *, blocking: bool | None) -> tuple[URL, bool]:
    database, _, driver = url.drivername.partition("+")
    if database not in _ASYNC_DRIVERS:
        raise ValueError(f"the database must be sqlite or postgresql, got {url.drivername!r}")
    if not driver:
        blocking = blocking is not False
        driver = (_BLOCKING_DRIVERS if blocking else _ASYNC_DRIVERS)[database]
    is_async = driver == _ASYNC_DRIVERS[database]
    if is_async == blocking or driver not in {_ASYNC_DRIVERS[database], _BLOCKING_DRIVERS[database]}:
        raise ValueError(
            f"{url.drivername!r} cannot be used with blocking={blocking}: name"
            f" {database}+{_ASYNC_DRIVERS[database]} for asyncio or {database}+{_BLOCKING_DRIVERS[database]} without it"
        )
    return url.set(drivername=f"{database}+{driver}"), not is_async


def _check(url: URL) -> None:
    if url.get_backend_name() == "sqlite":
        check_is_file(url)
        return
    try:
        url.get_dialect().import_dbapi()
    except ImportError as cause:
        raise ImportError(f'{url.drivername} needs its driver: pip install "sdpatterns[postgres]"') from cause
