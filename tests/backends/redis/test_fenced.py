"""A key of the user's on Redis that refuses an older fence."""

from __future__ import annotations

import pytest
import redis
import redis.asyncio

from sdpatterns.backends.redis.fenced import FencedKeys
from sdpatterns.errors import StaleFence
from tests.backends.everywhere import unique


def test_a_read_and_a_write_raise_the_fence_of_their_key(valkey_url: str) -> None:
    key = unique("stock")
    with redis.Redis.from_url(valkey_url) as client:
        keys = FencedKeys(client)
        assert keys.get_now(key, 10) is None
        keys.set_now(key, b"\x00a", 10)
        assert keys.get_now(key, 1_760_000_000_000_001) == b"\x00a"
        with pytest.raises(StaleFence) as refused:
            keys.set_now(key, "late", 1_760_000_000_000_000)
        assert (refused.value.presented, refused.value.seen) == (1_760_000_000_000_000, 1_760_000_000_000_001)
        with pytest.raises(StaleFence):
            keys.get_now(key, 10)
        assert client.ttl(key) == -1
        keys.set_now(key, "short", 1_760_000_000_000_001, keep_s=100.0)
        assert 0 < client.ttl(key) <= 100


@pytest.mark.anyio
async def test_the_same_with_a_client_of_asyncio(valkey_url: str) -> None:
    key, client = unique("stock"), redis.asyncio.Redis.from_url(valkey_url)
    keys = FencedKeys(client)
    await keys.set(key, "5", 10)
    assert await keys.get(key, 11) == b"5"
    with pytest.raises(StaleFence):
        await keys.set(key, "4", 10)
    await client.aclose()
