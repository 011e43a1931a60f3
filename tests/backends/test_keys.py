"""One rule for keys, whatever the store: the same keys are taken, and the same are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.ports.states import Space
from sdpatterns.testing.contracts.steps import Add

pytestmark = pytest.mark.anyio

TAKEN = ("a" * 1024, "\x00" * 1024, "\\" * 1024, "%" * 1024, "\U0001f600" * 256, "a/b", "", "\n", "\ufffe")
REFUSED = ("a" * 1025, "\U0001f600" * 257, "\ud800", "a\udfff" + "b" * 2000)


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres", "valkey"])
async def test_the_same_keys_are_taken_and_refused(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> None:
    backend: Any
    if kind == "memory":
        backend = MemoryBackend()
    elif kind == "valkey":
        backend = RedisBackend.from_url(request.getfixturevalue("valkey_url"), prefix="keys")
    elif kind == "sqlite":
        backend = SQLBackend.from_url(f"sqlite+aiosqlite:///{tmp_path / 'keys.db'}", durable=False)
    else:
        url = request.getfixturevalue("postgres_url")
        backend = SQLBackend.from_url(url.replace("postgresql:", "postgresql+asyncpg:"), random=lambda: 0.0)
    async with backend:
        await backend.create()
        cells = backend.states.cells(Space(f"keys/{kind}", IntegersCodec()))
        for key in TAKEN:
            await cells.transact(key, Add())
        assert [state is not None for state in await cells.read_many(TAKEN)] == [True] * len(TAKEN)
        for key in REFUSED:
            for ask in (lambda key=key: cells.transact(key, Add()), lambda key=key: cells.read(key)):
                with pytest.raises(
                    ValueError, match=r"^a key must be (at most 1024 bytes long, got |text, got half a)"
                ):
                    await ask()
            with pytest.raises(ValueError, match=r"^a key must be"):
                await cells.delete(key)
            with pytest.raises(ValueError, match=r"^a key must be"):
                await cells.transact_many(["fine", key], _Both())
        assert await cells.read("fine") is None


class _Both:
    repeats = "unsafe"
    script = None

    def __call__(self, states: Any, now_us: int, /) -> Any:
        return [(1,)] * len(states), None, [60.0] * len(states), ()
