"""A key of yours on Redis that refuses a late holder: value and fence are compared and written in one script."""

from __future__ import annotations

from typing import Any

import redis
import redis.asyncio

from sdpatterns.errors import StaleFence

__all__ = ["FencedKeys"]

_SCRIPT = """
-- KEYS: the key, a hash of value and fence. ARGV: the fence, then for a write the value and its time to live in ms.
local seen = tonumber(redis.call('HGET', KEYS[1], 'fence') or '0')
if tonumber(ARGV[1]) < seen then return { 0, string.format('%.0f', seen) } end
redis.call('HSET', KEYS[1], 'fence', ARGV[1])
if ARGV[2] then redis.call('HSET', KEYS[1], 'value', ARGV[2]) end
if ARGV[3] and ARGV[3] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return { 1, redis.call('HGET', KEYS[1], 'value') }
"""


class FencedKeys:
    """Reads and writes keys for the holder of a lease, and refuses an older one. A key is a hash `{value, fence}`.

    **Keeps**: once a holder has read or written a key, no holder with a smaller fence does either. A key that ends by
    its time to live, or that the server evicts, has forgotten its fence: give none that is shorter than any holder
    may be late. **May fail** with `StaleFence`, and with what the client raises. **Costs** one round trip.

    ```python
    stock = FencedKeys(redis.asyncio.Redis.from_url(url))

    async with lease.guard("shoes") as held:
        left = int(await stock.get("stock:shoes", held.fence) or 0)
        await stock.set("stock:shoes", str(left - 1), held.fence)
    ```

    The methods that end in `_now` are for a client that is used without `await`.
    """

    def __init__(self, client: redis.Redis | redis.asyncio.Redis) -> None:
        self._client: Any = client

    async def get(self, key: str, fence: int) -> bytes | None:
        """The value, after the key's fence was raised."""
        return _checked(key, fence, await self._client.eval(_SCRIPT, 1, key, fence))

    async def set(self, key: str, value: str | bytes, fence: int, *, keep_s: float = 0.0) -> None:
        """Set the value; it ends after `keep_s` seconds, or not by itself where that is 0."""
        _checked(key, fence, await self._client.eval(_SCRIPT, 1, key, fence, value, round(keep_s * 1000)))

    def get_now(self, key: str, fence: int) -> bytes | None:
        """`get` without an await."""
        return _checked(key, fence, self._client.eval(_SCRIPT, 1, key, fence))

    def set_now(self, key: str, value: str | bytes, fence: int, *, keep_s: float = 0.0) -> None:
        """`set` without an await."""
        _checked(key, fence, self._client.eval(_SCRIPT, 1, key, fence, value, round(keep_s * 1000)))


def _checked(key: str, fence: int, reply: list[Any]) -> bytes | None:
    passed, found = reply
    if not passed:
        raise StaleFence(key, presented=fence, seen=int(found))
    value: bytes | None = found
    return value
