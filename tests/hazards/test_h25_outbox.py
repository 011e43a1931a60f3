"""Hazard 25: an event that is lost in a crash, or noted as sent although its delivery failed.

peers.md, 25: eShop keeps events in a table that nothing sends on after a crash, and others acknowledge what failed.
"""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from sdpatterns.messaging.consumer import Redelivery
from sdpatterns.messaging.outbox import Outbox, Relay
from tests.backends.everywhere import PATIENCE_S
from tests.messaging.outbox_world import Arrived, World, outbox_world

pytestmark = pytest.mark.anyio
world = outbox_world
AT_ONCE = Redelivery(attempts_max=3, backoff="constant", base_s=0, max_s=0)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_an_event_of_a_process_that_died_after_its_commit_is_sent(world: World) -> None:
    await world.order("1", "o-1")
    # Another process: it has nothing but the database.
    outbox: Any = Outbox(world.outbox.name, backend=world.backend)
    arrived = Arrived(1)
    async with Relay(outbox, arrived):
        assert await arrived.wait() == ["1"]


async def test_a_relay_that_dies_after_the_delivery_loses_nothing_and_keeps_the_order(world: World) -> None:
    for name in ("1", "2", "3"):
        await world.order(name, "o-1")
    assert len((await world.outbox.queue.claim(10, 1.0)).messages) == 1  # delivered by a relay that says nothing more
    arrived = Arrived(3)
    async with Relay(world.outbox, arrived, poll_s=0.2):
        assert await arrived.wait() == ["1", "2", "3"]


async def test_an_event_whose_delivery_failed_is_not_noted_as_sent(world: World) -> None:
    await world.order("1", "o-1")
    await world.order("2", "o-1")
    arrived = Arrived(2, {"1": 2})
    async with Relay(world.outbox, arrived, redelivery=AT_ONCE):
        assert await arrived.wait() == ["1", "2"]

    await world.order("3", "o-1")
    async with Relay(world.outbox, Arrived(1, {"3": 3}), redelivery=AT_ONCE):
        with anyio.fail_after(PATIENCE_S):
            while not (letters := await world.outbox.queue.parked(10)):  # noqa: ASYNC110 - a queue has no event
                await anyio.sleep(0.01)
    assert len(letters) == 1
    assert "3 is refused" in letters[0].reason
