"""What a user gives to say which server: a URL, or a client of redis-py that is set up for it."""

from __future__ import annotations

from typing import Any, TypeAlias, TypedDict

import redis
import redis.asyncio

__all__ = ["Source", "SourceSettings", "settings_of"]

Source: TypeAlias = "str | redis.Redis | redis.asyncio.Redis"
"""A URL, or a client whose settings are copied."""


class SourceSettings(TypedDict):
    """The part of a `Server` that a source says."""

    url: str
    blocking: bool
    client: Any


def settings_of(source: Source, *, blocking: bool | None) -> SourceSettings:
    """Raises TypeError for what is neither, ValueError for a client of the other kind than `blocking` says."""
    if isinstance(source, str):
        return {"url": source, "blocking": bool(blocking), "client": None}
    is_async = isinstance(source, redis.asyncio.Redis)
    if not is_async and not isinstance(source, redis.Redis):
        raise TypeError(
            "source must be a URL such as 'redis://localhost:6379' or a redis.Redis or redis.asyncio.Redis,"
            f" got {type(source).__name__}"
        )
    if blocking is not None and blocking is is_async:
        kind = "redis.Redis" if blocking else "redis.asyncio.Redis"
        raise ValueError(f"source must be a {kind} where blocking is {blocking}, got the other kind of client")
    return {"url": _url_of(source), "blocking": not is_async, "client": source}


def _url_of(client: Any) -> str:
    """The client's server as a URL without secrets, fit to be shown."""
    pool = client.connection_pool
    settings = pool.connection_kwargs
    if "path" in settings:
        return f"unix://{settings['path']}?db={settings.get('db') or 0}"
    scheme = "rediss" if "SSL" in pool.connection_class.__name__ else "redis"
    service = getattr(pool, "service_name", None)
    place = service or f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}"
    return f"{scheme}{'+sentinel' if service else ''}://{place}/{settings.get('db') or 0}"
