"""What the workers of the crash matrix and its judge share: the backend, the tables of effects, and the provider."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.errors import BackendError
from tests.crash.provider import Client

WORK_S = 0.05
"""How long one piece of work takes."""
TABLES = sa.MetaData()
ACCOUNTS = sa.Table(
    "crash_accounts",
    TABLES,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("balance", sa.Integer, nullable=False),
    sa.Column("fence", sa.BigInteger, nullable=False, default=0),
)
EFFECTS = sa.Table(
    "crash_effects",
    TABLES,
    sa.Column("row", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
)
COUNTERS = sa.Table(
    "crash_counters",
    TABLES,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
)
AWAY = (BackendError, DBAPIError, OSError)
"""What a program meets while its database is away."""


class Death(NamedTuple):
    """At which of its calls of the outside a worker kills itself."""

    at: int
    before: bool


class Mortality:
    """Counts the calls that a process makes to the outside, and ends it (SIGKILL) at one of them."""

    def __init__(self, death: Death, provider: Client) -> None:
        self._calls = 0
        self._death = death
        self._provider = provider

    async def around(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """Make the call, unless it is the one."""
        self._calls += 1
        is_last = self._calls == self._death.at
        if is_last and self._death.before:
            await self._die(f"before {name}")
        answer = await call()
        if is_last:
            await self._die(f"after {name}")
        return answer

    async def _die(self, where: str) -> None:
        await self._provider.call("dies", where)
        os.kill(os.getpid(), signal.SIGKILL)


class Mortal:
    """An object whose calls to the outside are counted."""

    COUNTED = frozenset({"append", "read", "publish", "claim", "extend", "settle", "call"})

    def __init__(self, inner: Any, mortality: Mortality) -> None:
        self._inner = inner
        self._mortality = mortality

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name in {"log", "queue"}:
            return lambda *words, **options: Mortal(found(*words, **options), self._mortality)
        if name not in self.COUNTED:
            return found

        async def call(*words: Any, **options: Any) -> Any:
            told = f"{name} {words[0]}" if name == "call" else name
            return await self._mortality.around(told, lambda: found(*words, **options))

        return call


class Site:
    """The backend under fault, the database where effects are counted, and the provider."""

    def __init__(
        self, *, name: str, url: str, book_url: str, port: int, lease_s: float | None, death: Death | None = None
    ) -> None:
        self.name = name
        self.url = url
        self.lease_s = lease_s
        is_redis = url.startswith("redis:")
        self.backend: Any = RedisBackend.from_url(url) if is_redis else SQLBackend.from_url(url)
        self.is_redis = is_redis
        self.engine = create_async_engine(book_url, pool_pre_ping=True, connect_args=self._bounds(book_url, lease_s))
        self.book = SQLBackend(self.engine)
        self.provider: Any = Client(port)
        if death is not None:
            mortality = Mortality(death, self.provider)
            self.backend, self.provider = Mortal(self.backend, mortality), Mortal(self.provider, mortality)

    @staticmethod
    def _bounds(book_url: str, lease_s: float | None) -> dict[str, Any]:
        """Postgres ends a transaction in which a stopped process keeps others waiting, as docs/crashes.md advises."""
        if not book_url.startswith("postgresql"):
            return {}
        bound_ms = round(1000 * (lease_s or 8.0))
        return {"server_settings": {"idle_in_transaction_session_timeout": str(bound_ms)}}

    def settings(self, *names: str) -> dict[str, Any]:
        """The named settings of a service, or none of them where the defaults are measured."""
        if self.lease_s is None:
            return {}
        given = {"lease_s": self.lease_s, "poll_s": self.lease_s / 2, "concurrency": 2}
        return {name: given[name] for name in names}

    async def create(self) -> None:
        """Make the tables."""
        await self.book.create()
        await self.backend.create()
        async with self.engine.begin() as connection:
            await connection.run_sync(TABLES.create_all)

    async def numbers(self, table: sa.Table = EFFECTS) -> dict[str, list[int]]:
        """The numbers of each subject in a table, in the order of their rows."""
        found: dict[str, list[int]] = {}
        async with self.engine.connect() as connection:
            query = sa.select(table).where(table.c.name == self.name)
            for row in await connection.execute(query.order_by(table.c.row) if "row" in table.c else query):
                found.setdefault(row.subject, []).append(row.number)
        return found

    async def insist(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Make a call that may be repeated until the store answers."""
        while True:
            try:
                return await call()
            except AWAY:
                await asyncio.sleep(0.05)

    async def close(self) -> None:
        """Close all connections."""
        with contextlib.suppress(*AWAY):
            await self.backend.__aexit__(None, None, None)
            await self.book.__aexit__(None, None, None)
            await self.engine.dispose()
