"""Point (a) of `docs/design/ports.md`: no order of steps and no crash leaves a journal without a driver.

Both ways to start a saga are played in every order: the way of the page, and the way that it rejects.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from tests.design.interleavings import Process, orders


@dataclasses.dataclass
class World:
    """A queue with the driver messages of one run, and the run's journal."""

    drivers: int = 0
    journal: list[str] = dataclasses.field(default_factory=list)
    told: str = ""

    def append(self, event: str, expected: int) -> bool:
        if len(self.journal) != expected:
            return False
        self.journal.append(event)
        return True


def start(world: World) -> Process:
    """Publish first, append second. The caller is told what the append said."""
    world.drivers += 1
    yield
    world.told = "started" if world.append("started", expected=0) else "refused"


def worker_that_ends_it(world: World) -> Process:
    """Rejected: a worker that finds no journal completes the driver and appends nothing."""
    if not world.drivers:
        return
    yield
    if not world.journal:
        yield
        world.drivers = 0
        return
    yield from drive(world)


def worker_with_tombstone(world: World) -> Process:
    """A worker that finds no journal closes it before it completes the driver, so that a late start loses."""
    if not world.drivers:
        return
    yield
    if not world.journal:
        yield
        if world.append("closed", expected=0):
            yield
            world.drivers = 0
            return
    yield from drive(world)


def drive(world: World) -> Process:
    if world.journal == ["started"]:
        yield
        world.append("finished", expected=1)
    yield
    world.drivers = 0


def ends_of(worker: Callable[[World], Process], crashes_max: int) -> list[tuple[World, list[str]]]:
    def make() -> tuple[World, dict[str, Process]]:
        world = World()
        return world, {"start": start(world), "worker": worker(world), "other": worker(world)}

    ends = []
    for world, taken in orders(make, crashes_max=crashes_max):
        # A driver that is still there is claimed again when its lease ends.
        for _ in range(2):
            for _ in worker(world):
                pass
        ends.append((world, taken))
    return ends


def stranded(world: World) -> bool:
    """A journal that began, did not finish, and has no driver."""
    return world.journal == ["started"] and not world.drivers


@pytest.mark.parametrize("crashes_max", [0, 1])
def test_a_worker_that_completes_the_driver_strands_a_late_start(crashes_max: int) -> None:
    assert any(stranded(world) for world, _ in ends_of(worker_that_ends_it, crashes_max))


@pytest.mark.parametrize("crashes_max", [0, 1])
def test_a_tombstone_leaves_no_journal_without_a_driver(crashes_max: int) -> None:
    ends = ends_of(worker_with_tombstone, crashes_max)
    assert [taken for world, taken in ends if stranded(world)] == []
    assert [taken for world, taken in ends if world.drivers] == []
    assert [taken for world, taken in ends if world.told == "started" and "finished" not in world.journal] == []
    # The world is worth something only if every end was reached.
    assert {world.told for world, _ in ends} >= {"started", "refused"}
