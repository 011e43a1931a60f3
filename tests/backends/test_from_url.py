"""One setting decides which backend a program uses."""

from __future__ import annotations

from typing import Any

import pytest

from sdpatterns import RateLimiter, per_minute
from sdpatterns.backends import from_url
from sdpatterns.backends.etcd import EtcdBackend
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.backends.nats import NatsBackend
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.blocking import blocking

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory://", MemoryBackend),
        ("redis://localhost:6379/1", RedisBackend),
        ("rediss://user:secret@localhost", RedisBackend),
        ("unix:///run/redis.sock", RedisBackend),
        ("sqlite+aiosqlite:///cells.db", SQLBackend),
        ("postgresql+asyncpg://localhost/shop", SQLBackend),
        ("postgresql://localhost/shop", SQLBackend),
        ("nats://localhost:4222", NatsBackend),
        ("etcd://localhost:2379", EtcdBackend),
    ],
)
def test_the_scheme_says_which_backend_it_is(url: str, kind: type[object]) -> None:
    made = from_url(url)
    assert type(made) is kind


async def test_each_of_them_holds_a_limit(valkey_url: str, tmp_path: Any) -> None:
    for url in ("memory://", valkey_url, f"sqlite+aiosqlite:///{tmp_path}/cells.db"):
        backend = from_url(url, timeout_s=9.0)
        async with backend.lifespan():
            limiter = RateLimiter("from-url", per_minute(1), store=backend.states)
            assert [(await limiter.acquire("a")).allowed for _ in range(2)] == [True, False]


def test_each_of_them_works_without_a_loop(valkey_url: str, tmp_path: Any) -> None:
    for url in ("memory://", valkey_url, f"sqlite:///{tmp_path}/cells.db"):
        backend = from_url(url, blocking=True)
        blocking(backend).create()  # type: ignore[call-overload]
        limiter = blocking(RateLimiter("from-url-blocking", per_minute(1), store=backend.states))
        assert [limiter.acquire("a").allowed for _ in range(2)] == [True, False]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://user:secret@host/db", r"must be like memory://, redis://.*, got one that begins with 'mysql'"),
        ("localhost:6379", "got one that begins with ''"),
        ("", "got one that begins with ''"),
        ("memory", "got one that begins with ''"),
        ("memory://shop", "got one that begins with 'memory'"),
        ("postgres://user:secret@host/db", r"write postgresql\+asyncpg://"),
    ],
)
def test_another_url_is_refused_without_its_password(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        from_url(url)
    assert "secret" not in str(refused.value)
