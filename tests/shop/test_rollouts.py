"""A control room that finds a rollout half done puts the old release back, also where a replica still starts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from shop.settings import CONTEXTS, Settings
from shop.stage.control import rollouts
from shop.stage.control.replicas import Replicas
from shop.stage.control.rollouts import Rollouts
from shop.stage.release import Release

pytestmark = pytest.mark.anyio


class TwoCarts:
    """Two replicas of the cart, of which the second one is away for the first looks."""

    def __init__(self, versions: list[int], away_looks: int) -> None:
        self.versions = versions
        self.away_looks = away_looks

    def addresses(self, context: str) -> tuple[str, ...]:
        return ("http://1", "http://2") if context == "cart" else ("http://3",)

    async def pulses(self, _age_max_s: float) -> dict[str, dict[str, Any]]:
        self.away_looks -= 1
        first, second = ({"version": version, "share": 0.0, "calls": []} for version in self.versions)
        carts = {"http://1": first, "http://2": None if self.away_looks >= 0 else second}
        return {context: carts if context == "cart" else {} for context in CONTEXTS}

    def replace(self, deployable: str, number: int, release: Release) -> None:
        assert deployable == "cart"
        self.versions[number - 1] = release.version


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "_LOOK_S", 0.01)


@pytest.mark.parametrize("away_looks", [0, 1, 3])
async def test_the_old_release_is_put_back_where_the_new_one_still_starts(away_looks: int) -> None:
    shop = TwoCarts([1, 2], away_looks)
    settings = Settings(data_dir=Path(), seed=1, public="http://shop", addresses={}, replaced=shop.replace)
    found = Rollouts(cast("Replicas", shop), settings)
    found.settle()
    async with asyncio.timeout(30):
        while shop.versions != [1, 1]:  # noqa: ASYNC110 - watched from outside
            await asyncio.sleep(0.01)
    await found.aclose()
    assert shop.versions == [1, 1]


async def test_a_rollout_that_begins_meanwhile_waits_until_that_is_done() -> None:
    shop = TwoCarts([1, 2], 3)
    settings = Settings(data_dir=Path(), seed=1, public="http://shop", addresses={}, replaced=shop.replace)
    found = Rollouts(cast("Replicas", shop), settings)
    found.settle()
    found.begin("cart", has_bug=False, at_once=True)
    async with asyncio.timeout(30):
        while found.is_running:  # noqa: ASYNC110 - watched from outside
            await asyncio.sleep(0.01)
    assert shop.versions == [2, 2]
    assert (found.view()["before"], found.view()["result"]) == (1, "released")
    await found.aclose()
