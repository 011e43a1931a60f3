"""A server that is full for real: its limits hold, and it is told apart from one that is away."""

from __future__ import annotations

import asyncio
import pathlib
import secrets
from typing import Any

import psycopg
import pytest
import redis
from sqlalchemy import Engine, event

from sdpatterns import Idempotency, Quota, RateLimiter, monthly, per_hour
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.errors import BackendFull
from sdpatterns.ports.states import Space
from sdpatterns.testing.valkey import valkey_process


async def _holds(backend: Any, ask_many: int) -> None:
    """Five of one key may pass, whatever was used before the store was full."""
    limiter = RateLimiter(secrets.token_hex(4), per_hour(5), store=backend.states)
    quota = Quota(secrets.token_hex(4), monthly(5), store=backend.states)
    for guard in (limiter, quota):
        decisions = [await guard.acquire(key) for key in ("a", "b") for _ in range(ask_many)]
        assert sum(decision.allowed for decision in decisions) == 10, guard
    once: Any = Idempotency("once", store=backend.states, on_outage="allow")

    async def charge() -> int:
        raise AssertionError("ran without a claim")

    with pytest.raises(BackendFull):
        await once.call(secrets.token_hex(4), charge)


def test_a_redis_at_its_maxmemory_lets_no_more_pass() -> None:
    with valkey_process() as server, redis.Redis(port=server.port) as admin:
        admin.config_set("maxmemory-policy", "noeviction")

        async def play() -> None:
            async with RedisBackend.from_url(f"redis://127.0.0.1:{server.port}") as backend:
                limiter = RateLimiter("before", per_hour(5), store=backend.states)
                assert [(await limiter.acquire("a")).allowed for _ in range(3)] == [True] * 3
                admin.config_set("maxmemory", 1)
                assert sum([(await limiter.acquire("a")).allowed for _ in range(300)]) == 2
                await _holds(backend, 300)
                admin.config_set("maxmemory", 0)
                assert (await RateLimiter("after", per_hour(5), store=backend.states).acquire("a")).allowed

        asyncio.run(play())


def test_a_sqlite_file_on_a_full_disk_lets_no_more_pass(tmp_path: pathlib.Path) -> None:
    pages = [0]

    def bound(connection: Any, _record: object) -> None:
        if pages[0]:
            connection.execute(f"PRAGMA max_page_count = {pages[0]}")

    async def play() -> None:
        url = f"sqlite+aiosqlite:///{tmp_path / 'full.db'}"
        async with SQLBackend(url) as backend:
            await backend.create()
        pages[0] = 1  # fewer than there are: no page more
        async with SQLBackend(url) as backend:
            filler = backend.states.cells(Space("filler", _Text()))
            with pytest.raises(BackendFull, match="make room on its disk"):
                await filler.transact("a", _Put("x" * 100_000))
            for size in (2000, 500, 100, 20, 1):
                for number in range(200):
                    try:
                        await filler.transact(f"{size}/{number}", _Put("x" * size))
                    except BackendFull:
                        break
            await _holds(backend, 10)

    event.listen(Engine, "connect", bound)
    try:
        asyncio.run(play())
    finally:
        event.remove(Engine, "connect", bound)


def test_a_postgres_on_a_full_disk_lets_no_more_pass(postgres_url: str) -> None:
    """A trigger fails with what the server itself says of a full disk."""

    async def play() -> None:
        async with SQLBackend(postgres_url.replace("postgresql:", "postgresql+asyncpg:")) as backend:
            await backend.create()
            _run(postgres_url, *_FULL)
            try:
                await _holds(backend, 10)
            finally:
                _run(postgres_url, "DROP FUNCTION sdp_full CASCADE")

    asyncio.run(play())


_FULL = (
    """
    CREATE FUNCTION sdp_full() RETURNS trigger AS $$ BEGIN
      RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
    END $$ LANGUAGE plpgsql
    """,
    "CREATE TRIGGER sdp_full BEFORE INSERT OR UPDATE ON sdp_cells EXECUTE FUNCTION sdp_full()",
)


def _run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


class _Text:
    def encode(self, state: str) -> bytes:
        return state.encode()

    def decode(self, data: bytes) -> str:
        return data.decode()


class _Put:
    repeats = "harmless"
    script = None

    def __init__(self, state: str) -> None:
        self.state = state

    def __call__(self, states: Any, now_us: int, /) -> Any:
        return [self.state], None, [3600.0], ()
