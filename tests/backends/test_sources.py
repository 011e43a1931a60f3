"""What both backends take: a URL, or an object of the library below that is set up already."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import pytest
import redis
import redis.asyncio

from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.runtime import finish
from sdpatterns.ports.states import Space
from sdpatterns.testing.contracts.steps import Add


@pytest.mark.parametrize("kind", [RedisBackend, SQLBackend])
def test_what_is_no_source_is_named(kind: Any) -> None:
    for wrong in (None, 5, b"sqlite://", object(), redis.RedisCluster):
        with pytest.raises(TypeError, match=r"source must be a URL .* got "):
            kind(wrong)


class _Credentials(redis.CredentialProvider):
    """Tells how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def get_credentials(self) -> tuple[str, str]:
        self.asked += 1
        return ("till", "secret")


def test_redis_takes_the_settings_of_a_client(valkey_url: str) -> None:
    port = int(valkey_url.rsplit(":", 1)[1])
    with redis.Redis.from_url(valkey_url) as admin:
        admin.execute_command("ACL", "SETUSER", "till", "on", ">secret", "~*", "&*", "+@all")
        for blocking in (True, False):
            credentials = _Credentials()
            make: Any = redis.Redis if blocking else redis.asyncio.Redis
            client = make(port=port, db=3, credential_provider=credentials, decode_responses=True)
            key = secrets.token_hex(4)

            async def play(backend: RedisBackend, key: str = key) -> None:
                async with backend:
                    await backend.create()
                    await backend.states.cells(Space("source", IntegersCodec())).transact(key, Add())

            backend = RedisBackend(client)
            assert "secret" not in repr(backend._resources.server.shown)
            if blocking:
                finish(play(backend))
                client.close()
            else:
                asyncio.run(play(backend))
                asyncio.run(play(RedisBackend(client)))
            assert credentials.asked
            with redis.Redis(port=port, db=3) as look:
                assert look.exists(f"sdp:source/{key}")
        with pytest.raises(ValueError, match=r"source must be a redis.asyncio.Redis where blocking is False"):
            RedisBackend(redis.Redis(port=port), blocking=False)


def test_a_url_is_taken_without_from_url_too(valkey_url: str) -> None:
    with RedisBackend(valkey_url, blocking=True) as backend:
        assert finish(backend.states.cells(Space("source", IntegersCodec())).read(secrets.token_hex(4))) is None
