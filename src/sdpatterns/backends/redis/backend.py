"""The Redis backend as one object."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from sdpatterns.backends.redis.protocol import pack
from sdpatterns.backends.redis.sites import Sites
from sdpatterns.backends.redis.states import RedisStates
from sdpatterns.backends.redis.target import Target
from sdpatterns.core.runtime import ASYNCIO, BLOCKING

__all__ = ["RedisBackend"]


class RedisBackend:
    """State and signals on a Redis or Valkey server, or on a cluster of them."""

    def __init__(self, target: Target) -> None:
        self._sites = Sites(target)
        self.states = RedisStates(self._sites, BLOCKING if target.blocking else ASYNCIO)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        blocking: bool = False,
        cluster: bool = False,
        prefix: str = "sdp",
        timeout_s: float = 5.0,
        connections_max: int = 16,
    ) -> Self:
        """A backend for the server at `url` (`redis://`, `rediss://` or `unix://`)."""
        return cls(
            Target(
                url=url,
                blocking=blocking,
                cluster=cluster,
                prefix=prefix,
                timeout_s=timeout_s,
                connections_max=connections_max,
            )
        )

    def shift(self, seconds: float) -> None:
        """Move the store's time, as this object sees it, for tests."""
        self._sites.shift_us = str(int(self._sites.shift_us) + round(seconds * 1_000_000))

    async def create(self) -> None:
        """See that the server answers."""
        await self._sites.here().wire.call(pack("PING"), b"")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._sites.close()
