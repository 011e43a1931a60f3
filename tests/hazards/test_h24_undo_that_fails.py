"""Hazards 24 and 26: an undo that fails is left to the user, or what was paid for is never refunded.

Here a failed undo is tried again, then parked where an operator finds it, and goes on when it is resumed. No step that
was done is left without its undo.
"""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from sdpatterns.errors import SagaUndone
from sdpatterns.messaging.saga import RunStatus, SagaRun, Sagas, SagaWorker
from tests.backends.everywhere import each_backend_with_queues, unique

backend = each_backend_with_queues
pytestmark = pytest.mark.anyio

PATIENCE_S = 120.0


class NoParcel(Exception):
    """The carrier takes nothing."""


class Provider:
    """A payment provider whose refunds fail for a while."""

    def __init__(self) -> None:
        self.paid = 0
        self.refusals = 2

    async def charge(self, cents: int) -> int:
        self.paid += cents
        return cents

    async def refund(self, cents: int) -> None:
        if self.refusals:
            self.refusals -= 1
            raise ConnectionError("the provider is away")
        self.paid -= cents

    async def ship(self) -> None:
        raise NoParcel


async def test_a_refund_that_fails_is_parked_where_it_is_seen_and_made_when_it_is_resumed(backend: Any) -> None:
    sagas, provider = Sagas(unique("saga"), backend=backend), Provider()

    @sagas.saga(give_up_on=(NoParcel,), attempts_max=2, base_s=0, max_s=0)
    async def order(run: SagaRun) -> None:
        await run.step("charge", provider.charge, 900, undo=provider.refund)
        await run.step("ship", provider.ship)

    async with SagaWorker(sagas):
        handle = await order.start()
        with anyio.fail_after(PATIENCE_S):
            while not (letters := await sagas.queue.parked(10)):  # noqa: ASYNC110 - parking has no event
                await anyio.sleep(0.01)
        assert (letters[0].id, await handle.status()) == (handle.id, RunStatus.PARKED)
        assert "step 'charge': attempt 2 of 2: ConnectionError: the provider is away" in letters[0].reason
        assert provider.paid == 900
        assert await handle.resume()
        with pytest.raises(SagaUndone, match="NoParcel"):
            await handle.result(PATIENCE_S)
    assert provider.paid == 0
