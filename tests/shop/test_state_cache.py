"""The control room answers always: with a fresh look, or with the last one and its age."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shop.background import together
from shop.problems import Problem
from shop.stage.control import state_cache
from shop.stage.control.history import POINTS, STEP_S, History
from shop.stage.control.state_cache import StateCache

from .visitor import Visitor

pytestmark = pytest.mark.anyio


class World:
    """Something to look at, that may be stuck or refuse."""

    def __init__(self) -> None:
        self.looks = 0
        self.stuck = asyncio.Event()
        self.stuck.set()
        self.error: Exception | None = None

    async def look(self) -> dict[str, Any]:
        self.looks += 1
        await self.stuck.wait()
        if self.error:
            raise self.error
        return {"look": self.looks}


async def test_a_refresh_that_is_stuck_holds_no_caller_and_the_last_state_has_its_age() -> None:
    world = World()
    cache = StateCache(world.look, {"look": 0})
    assert await cache.get(0.0, 5.0) == ({"look": 1}, pytest.approx(0.0, abs=5.0))
    world.stuck.clear()
    seen = await cache.get(0.0, 0.01)
    assert seen.state == {"look": 1}
    assert seen.age_s is not None
    assert [(await cache.get(0.0, 0.01)).state for _ in range(20)] == [{"look": 1}] * 20
    assert world.looks == 2, "those who come later share the look that is running"
    world.stuck.set()
    assert (await cache.get(0.0, 5.0)).state == {"look": 3}
    await cache.aclose()


async def test_a_refresh_without_an_end_is_given_up_and_the_next_one_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_cache, "REFRESH_MAX_S", 0.01)
    world = World()
    world.stuck.clear()
    cache = StateCache(world.look, {"look": 0})
    assert await cache.get(0.0, 5.0) == ({"look": 0}, None)
    world.stuck.set()
    assert (await cache.get(0.0, 5.0)).state == {"look": 2}


@pytest.mark.parametrize("error", [Problem(503, "unavailable", "The psp does not answer."), ValueError("odd")])
async def test_a_refresh_that_fails_leaves_the_last_state(error: Exception) -> None:
    world = World()
    cache = StateCache(world.look, {"look": 0})
    await cache.get(0.0, 5.0)
    world.error = error
    assert (await cache.get(0.0, 5.0)).state == {"look": 1}
    world.error = None
    assert (await cache.get(0.0, 5.0)).state == {"look": 3}


async def test_a_caller_that_leaves_does_not_end_the_refresh_of_the_others() -> None:
    world = World()
    world.stuck.clear()
    cache = StateCache(world.look, {"look": 0})
    leaving, staying = (asyncio.create_task(cache.get(0.0, 5.0)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    world.stuck.set()
    assert (await staying).state == {"look": 1}


async def test_a_question_that_fails_leaves_no_other_running() -> None:
    ended: list[str] = []

    async def asks() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # as closing a connection does
            ended.append("asks")

    async def fails() -> None:
        await asyncio.sleep(0)
        raise Problem(503, "unavailable", "away")

    with pytest.raises(Problem):
        await together(asks(), fails())
    assert ended == ["asks"]

    whole = asyncio.create_task(together(asks(), asks()))
    for _ in range(3):
        await asyncio.sleep(0)
    whole.cancel()
    with pytest.raises(asyncio.CancelledError):
        await whole
    assert ended == ["asks"] * 3


async def test_the_state_says_how_old_it_is_and_has_lanes_and_history(shared: Visitor) -> None:
    await shared.get("/api/v1/products?limit=2")
    state = await shared.state()
    assert state["age_s"] >= 0
    assert state["lanes"]["api"]["ok"] >= 1
    assert len(state["history"]["points"]) == POINTS
    assert sum(point["answered"] for point in state["history"]["points"]) >= 1


def test_the_history_counts_by_time_and_forgets_in_bounds() -> None:
    history = History()
    for second in range(3 * POINTS * STEP_S):
        history.take("api", 500 if second % 2 else 200, second * 1_000_000, second * 1_000_000 + 20_000)
    end_us = 3 * POINTS * STEP_S * 1_000_000 - 1
    points = history.view(end_us)["points"]
    assert len(points) == POINTS
    assert points[-1] == {"p95_ms": 20.0, "failed": 1, "answered": 2}
    assert history.lanes(end_us)["api"] == {"ok": 30, "refused": 0, "failed": 30}
    history.mark(end_us, "breaker off")
    assert history.view(end_us + 5_000_000)["marks"] == [{"ago_s": 5.0, "text": "breaker off"}]
    assert history.view(end_us + 2 * POINTS * STEP_S * 1_000_000)["marks"] == []


def test_an_answer_that_comes_out_of_order_is_counted_where_it_belongs() -> None:
    history = History()
    for at_s in (10, 14, 11, 3):
        history.take("page", 200, 0, at_s * 1_000_000)
    answered = [point["answered"] for point in history.view(15_000_000)["points"]]
    assert answered[-3:] == [3, 0, 1]
