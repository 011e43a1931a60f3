"""Hazard 11: no decision scans the keys: what one call looks at does not grow with how many there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sdpatterns import Quota, RateLimiter, daily, per_second
from sdpatterns.core.runtime import finish
from sdpatterns.ports.local import LocalCells, Shard
from sdpatterns.testing.clock import VirtualClock
from sdpatterns.traffic.ratelimit import GCRA, Algorithm
from tests.traffic.ratelimit.algorithms import ALGORITHMS


class Watched(dict[str, Any]):
    """A map that notes when code iterates over it."""

    walks = 0

    def _walk(self, name: str) -> Any:
        Watched.walks += 1
        return getattr(super(), name)()

    def __iter__(self) -> Any:
        return self._walk("__iter__")

    def keys(self) -> Any:
        return self._walk("keys")

    def values(self) -> Any:
        return self._walk("values")

    def items(self) -> Any:
        return self._walk("items")


@pytest.mark.parametrize(
    ("clock", "algorithm"),
    [("virtual", GCRA()), *(("process", algorithm) for algorithm in ALGORITHMS.values())],
    ids=["virtual-gcra", *ALGORITHMS],
)
def test_a_limiter_walks_over_no_other_keys(
    clock: str, algorithm: Algorithm, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    virtual = VirtualClock()
    if clock == "virtual":
        virtual.install()
        request.addfinalizer(virtual.uninstall)
    limiter = RateLimiter("api", per_second(1), algorithm=algorithm)
    assert_no_walk(limiter, limiter._cells.cells, monkeypatch)


def test_a_quota_walks_over_no_other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    quota = Quota("api", daily(1))
    assert_no_walk(quota, quota._cells, monkeypatch)


def assert_no_walk(part: Any, cells: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(cells, LocalCells)
    for number in range(20_000):
        part.acquire_now(f"key {number}")
    for shard in cells.shards:
        shard.young, shard.old = Watched(shard.young), Watched(shard.old)
    rotations = _counted(monkeypatch)
    Watched.walks = 0
    for number in range(2_000):
        for key in (f"key {number}", f"new {number}"):
            before = len(rotations)
            finish(part.acquire(key))
            assert len(rotations) - before <= 2
    assert Watched.walks == 0


def test_keys_that_expire_together_are_dropped_over_many_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    with VirtualClock() as clock:
        limiter = RateLimiter("api", per_second(1))
        for number in range(100_000):
            limiter.acquire_now(f"key {number}")
        clock.advance(3600.0)
        rotations = _counted(monkeypatch)
        for number in range(5_000):
            limiter.acquire_now(f"new {number}")
            clock.advance(0.001)
        assert max(rotations) < 400
        assert sum(rotations) >= 90_000


def _counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many keys each rotation of a small map drops, from now on."""
    dropped: list[int] = []
    rotate: Callable[[Shard, float], int] = Shard.rotate

    def counted(shard: Shard, least_until_us: float) -> int:
        dropped.append(rotate(shard, least_until_us))
        return dropped[-1]

    monkeypatch.setattr(Shard, "rotate", counted)
    return dropped
