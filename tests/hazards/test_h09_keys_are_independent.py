"""Hazard 9: a limit is per key, and a waiting key delays no other key."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sdpatterns import RateLimiter, per_hour, per_minute
from tests.backends.everywhere import KINDS, opened, unique
from tests.loops import on_virtual_asyncio

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("kind", KINDS)
async def test_a_used_up_key_leaves_the_others_whole(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    async with opened(request, kind, tmp_path) as backend:
        limiter = RateLimiter(unique("api"), per_hour(2), store=backend.states)
        for key in ("a", "b", "A", "a ", "ä"):
            assert [(await limiter.acquire(key)).allowed for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_waiting_key_does_not_block_an_idle_one(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with opened(request, kind, tmp_path) as backend:
        limiter = RateLimiter(unique("api"), per_hour(60, burst=1), store=backend.states)
        await limiter.wait("busy")
        waiting = [asyncio.ensure_future(limiter.wait("busy", max_wait_s=3600.0)) for _ in range(10)]
        await limiter.wait("idle")
        assert not any(task.done() for task in waiting)  # the first of them is due in a minute
        for task in waiting:
            task.cancel()
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends)


@on_virtual_asyncio
class TestInVirtualTime:
    async def test_two_keys_wait_side_by_side(self) -> None:
        limiter = RateLimiter("api", per_minute(60, burst=1))
        loop = asyncio.get_running_loop()
        started_s = loop.time()

        async def three(key: str) -> float:
            for _ in range(3):
                await limiter.wait(key)
            return loop.time() - started_s

        assert await asyncio.gather(three("a"), three("b")) == pytest.approx([2.0, 2.0])
