"""One rule for keys on every store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sdpatterns import Idempotency
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.core.keys import KEY_BYTES_MAX, short_key
from sdpatterns.ports.states import StateStore
from tests.backends.everywhere import unique

pytestmark = pytest.mark.anyio

ODD = [
    "k", "x" * 1_025, "x" * 1_026, "x" * 200_000, "ß" * 600, "ß" * 512, "\ud800", "a\udfff", "\0", "a\0b", "~",
    "~" * 65, short_key("x" * 1_025), "/" * 1_000, "%2F", " ", "\n", "漢" * 341, "漢" * 342,
]  # fmt: skip


@pytest.fixture
def anyio_backend() -> str:
    """Real servers need real time."""
    return "asyncio"


@pytest.fixture
async def stores(valkey_url: str, postgres_url: str, tmp_path: Path) -> AsyncIterator[list[StateStore]]:
    sqlite = SQLBackend.from_url(f"sqlite+aiosqlite:///{tmp_path}/keys.db")
    postgres = SQLBackend.from_url(postgres_url.replace("postgresql://", "postgresql+asyncpg://"))
    async with RedisBackend.from_url(valkey_url) as redis, sqlite as one, postgres as two:
        await one.create()
        await two.create()
        yield [MemoryBackend().states, redis.states, one.states, two.states]


async def test_each_key_is_taken_by_each_store_and_is_no_other(stores: list[StateStore]) -> None:
    async def own(key: str) -> str:
        runs.append(key)
        return key

    for store in stores:
        once = Idempotency(unique("keys"), store=store)
        runs: list[str] = []
        for key in ODD * 2:
            assert await once.call(key, own, key) == key
            assert await once.call((key, "part"), own, f"{key} part") == f"{key} part"
        assert len(runs) == 2 * len(ODD) == len(set(runs))


async def test_who_waits_for_a_long_key_is_woken(stores: list[StateStore]) -> None:
    for store in stores[:1]:
        once = Idempotency("waits", store=store, scope=lambda: "/" * 5_000)
        claim = await once.claim("\ud800" * 5_000)
        await claim.store("fine")  # type: ignore[union-attr] # a claim
        assert (await once.claim("\ud800" * 5_000)).answer == "fine"  # type: ignore[union-attr] # a replay


def test_a_key_that_fits_is_itself_and_a_digest_is_short() -> None:
    for key in ("k", "x" * KEY_BYTES_MAX, "ß" * 512):
        assert short_key(key) == key
    assert {len(short_key(key)) for key in ("x" * 1_025, "\0", "~", "\ud800", "ß" * 513)} == {65}


async def test_what_is_no_key_is_refused_by_name() -> None:
    once = Idempotency("keys", store=MemoryBackend().states)
    bad: list[Any] = [7, None, b"k", ("a", 7), {"a"}.__iter__(), object()]
    for key in bad:
        with pytest.raises(TypeError, match="a string or a tuple of strings"):
            await once.claim(key)
    for empty in ("", (), ("", "")):
        with pytest.raises(ValueError, match="at least one character"):
            await once.claim(empty)
    scoped = Idempotency("keys", store=MemoryBackend().states, scope=lambda: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError, match="scope must give a string"):
        await scoped.claim("k")


def test_a_function_that_is_not_awaited_must_be_a_plain_one() -> None:
    async def later(*_: Any) -> str:
        return "tenant"

    class Later:
        async def __call__(self, *_: Any) -> str:
            return "tenant"

    for function in (later, Later()):
        for field in ("scope", "fingerprint", "owners"):
            with pytest.raises(TypeError, match=f"{field} must be a plain function"):
                Idempotency("keys", store=MemoryBackend().states, **{field: function})  # type: ignore[arg-type]
