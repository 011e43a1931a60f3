"""The worlds that come with the library, and how to name one of your own."""

from __future__ import annotations

import importlib

from sdpatterns.testing.simulation.algorithms import AlgorithmsWorld
from sdpatterns.testing.simulation.breaker import BreakerWorld
from sdpatterns.testing.simulation.choreography import ChoreographyWorld
from sdpatterns.testing.simulation.election import ElectionWorld
from sdpatterns.testing.simulation.eventstore import EventStoreWorld
from sdpatterns.testing.simulation.idempotency import IdempotencyWorld
from sdpatterns.testing.simulation.jobs import JobsWorld
from sdpatterns.testing.simulation.lease import LeaseWorld
from sdpatterns.testing.simulation.limiter import LimiterWorld
from sdpatterns.testing.simulation.log import LogWorld
from sdpatterns.testing.simulation.outbox import OutboxWorld
from sdpatterns.testing.simulation.projection import ProjectionWorld
from sdpatterns.testing.simulation.queue import QueueWorld
from sdpatterns.testing.simulation.quota import QuotaWorld
from sdpatterns.testing.simulation.saga import SagaWorld
from sdpatterns.testing.simulation.semaphore import SemaphoreWorld
from sdpatterns.testing.simulation.world import World

__all__ = ["WORLDS", "named_world"]

WORLDS: dict[str, World] = {
    world.name: world
    for world in (
        LimiterWorld(),
        AlgorithmsWorld(),
        QuotaWorld(),
        IdempotencyWorld(),
        BreakerWorld(),
        QueueWorld(),
        LeaseWorld(),
        SemaphoreWorld(),
        ElectionWorld(),
        JobsWorld(),
        OutboxWorld(),
        ChoreographyWorld(),
        LogWorld(),
        EventStoreWorld(),
        SagaWorld(),
        ProjectionWorld(),
    )
}


def named_world(name: str) -> World:
    """The world of that name, or the one that `module:Class` names. Raises `ValueError` where there is none."""
    if name in WORLDS:
        return WORLDS[name]
    module, _, attribute = name.partition(":")
    if not attribute:
        raise ValueError(f"no world is called {name!r}: {', '.join(sorted(WORLDS))}, or module:Class")
    found = getattr(importlib.import_module(module), attribute)
    world: World = found() if isinstance(found, type) else found
    return world
