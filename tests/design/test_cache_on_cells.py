"""Point (f) of `docs/design/ports.md`: a cache level is three steps on cells, so that it needs no port of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.step import GONE, Repeats, Step, unchanged
from sdpatterns.ports.states import Cells, Space

LEASE_US = 30_000_000
Entry = tuple[int, ...]
"""`(token, until)` while one caller loads, `(token, until, value)` once it has."""


@dataclasses.dataclass(frozen=True)
class GetOrClaim:
    """The value; or a token for the caller that has to load it; or nothing while another one loads."""

    caller: int
    repeats: ClassVar[Repeats] = "unsafe"
    script = None

    def __call__(self, entries: Sequence[Entry | None], now_us: int, /) -> Step[Entry, tuple[str, int]]:
        [entry] = entries
        if entry is not None and len(entry) == 3:
            return unchanged(("value", entry[2]))
        if entry is not None and now_us < entry[1]:
            return unchanged(("busy", 0))
        token = max(now_us, entry[0] + 1 if entry else 0)
        return [(token, now_us + LEASE_US)], ("token", token), [60.0], ()


@dataclasses.dataclass(frozen=True)
class Fill:
    """Store the value if the token is still the cell's; wake those that wait for it."""

    token: int
    value: int
    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __call__(self, entries: Sequence[Entry | None], now_us: int, /) -> Step[Entry, bool]:
        [entry] = entries
        if entry is None or entry[0] != self.token:
            return unchanged(False)
        return [(self.token, entry[1], self.value)], True, [60.0], ("cache/key",)


class Invalidate:
    """Drop the value, and the token of a load that began before."""

    repeats: ClassVar[Repeats] = "harmless"
    script = None

    def __call__(self, entries: Sequence[Entry | None], now_us: int, /) -> Step[Entry, None]:
        return [GONE], None, [0.0], ()


async def one_loader_and_no_stale_value(cells: Cells[Entry]) -> None:
    answers = [await cells.transact("key", GetOrClaim(caller)) for caller in range(200)]
    [token] = [token for kind, token in answers if kind == "token"]
    assert [kind for kind, _ in answers].count("busy") == 199
    # What was loaded before an invalidation is not stored after it.
    await cells.transact("key", Invalidate())
    assert not await cells.transact("key", Fill(token, 1))
    kind, second = await cells.transact("key", GetOrClaim(1))
    assert kind == "token"
    assert second > token
    assert await cells.transact("key", Fill(second, 2))
    assert not await cells.transact("key", Fill(token, 1))
    assert await cells.transact("key", GetOrClaim(3)) == ("value", 2)


@pytest.mark.anyio
async def test_a_cache_level_in_memory() -> None:
    await one_loader_and_no_stale_value(MemoryBackend().states.cells(Space("design/cache", IntegersCodec())))


@pytest.mark.anyio
async def test_a_cache_level_on_redis(valkey_url: str) -> None:
    async with RedisBackend.from_url(valkey_url) as backend:
        await one_loader_and_no_stale_value(backend.states.cells(Space("design/cache", IntegersCodec())))
