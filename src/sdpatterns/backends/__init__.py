"""Adapters of the ports: one folder a backend, one file a port. `from_url` picks the backend by its URL."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, cast

from sdpatterns.ports.backend import Backend

__all__ = ["AnyBackend", "from_url"]


class AnyBackend(Backend, AbstractAsyncContextManager[Any], Protocol):
    """What every backend offers, whichever URL it is for."""

    def lifespan(self, app: object = None, /) -> AbstractAsyncContextManager[None]:
        """Open it while an application starts: `FastAPI(lifespan=backend.lifespan)`."""
        ...


# Imported by name and when asked for, so that each backend needs its own library alone.
_KINDS = {
    "etcd": ("sdpatterns.backends.etcd", "EtcdBackend"),
    "nats": ("sdpatterns.backends.nats", "NatsBackend"),
    "postgresql": ("sdpatterns.backends.sqlalchemy", "SQLBackend"),
    "redis": ("sdpatterns.backends.redis", "RedisBackend"),
    "rediss": ("sdpatterns.backends.redis", "RedisBackend"),
    "sqlite": ("sdpatterns.backends.sqlalchemy", "SQLBackend"),
    "unix": ("sdpatterns.backends.redis", "RedisBackend"),
}
_LIKE = (
    "memory://, redis://localhost:6379, sqlite+aiosqlite:///file, postgresql+asyncpg://host/database,"
    " nats://localhost:4222 or etcd://localhost:2379"
)


def from_url(url: str, *, blocking: bool = False, timeout_s: float = 5.0) -> AnyBackend:
    """A backend for this URL: in memory, on Redis, in SQL, on NATS or in etcd, so that a setting decides.

    | URL | backend |
    |---|---|
    | `memory://` | `MemoryBackend` |
    | `redis://`, `rediss://`, `unix://` | `RedisBackend` |
    | `sqlite+aiosqlite:///file`, `postgresql+asyncpg://…` | `SQLBackend` |
    | `sqlite:///file`, `postgresql://…` | the same; `blocking` chooses the driver |
    | `nats://` | `NatsBackend`; not with `blocking` |
    | `etcd://` | `EtcdBackend`; not with `blocking` |

    `blocking=True` is for programs without an event loop. `timeout_s` bounds how long one answer of the server is
    waited for. For other settings use the class.

    **Keeps**: it opens nothing. **May fail** with `ValueError` for another URL, and ImportError that names the
    extra to install. **Costs** the import of the backend.
    """
    scheme = url.partition("://")[0] if "://" in url else ""
    if url == "memory://":
        made = importlib.import_module("sdpatterns.backends.memory").MemoryBackend()
    else:
        made = _kind_of(scheme)(url, blocking=blocking, timeout_s=timeout_s)
    return cast("AnyBackend", made)


def _kind_of(scheme: str) -> Callable[..., object]:
    if scheme == "postgres":
        raise ValueError("the URL begins with postgres://: write postgresql+asyncpg:// (or postgresql+psycopg://)")
    module, name = _KINDS.get(scheme.partition("+")[0], ("", ""))
    if not module:
        # The URL itself is not shown, for it may hold a password.
        raise ValueError(f"the URL must be like {_LIKE}, got one that begins with {scheme!r}")
    return cast("Callable[..., object]", getattr(importlib.import_module(module), name))
