"""Hazard 26: a shop takes the money, cannot ship, and never refunds.

peers.md, 26: Online Boutique and the demo of OpenTelemetry charge first, and end with an error when shipping fails.
Here an order ends as paid and sent, or as refunded, also where the process dies between the two.
"""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from sdpatterns.errors import BackendUnavailable, SagaUndone
from sdpatterns.messaging.saga import RunStatus, Saga, SagaRun, Sagas, SagaWorker, current_step
from tests.backends.everywhere import PATIENCE_S, each_backend_with_queues, unique

backend = each_backend_with_queues
pytestmark = pytest.mark.anyio


class NoParcel(Exception):
    """The carrier takes nothing."""


class Outsiders:
    """A payment provider and a carrier with books of their own."""

    def __init__(self, *, has_room: bool) -> None:
        self.charged: dict[str, int] = {}
        self.refunded: dict[str, int] = {}
        self.sent: set[str] = set()
        self.asked = anyio.Event()
        self.answers = anyio.Event()
        self._has_room = has_room

    async def charge(self, cents: int) -> int:
        self.charged[current_step().idempotency_key] = cents
        return cents

    async def refund(self, cents: int) -> None:
        self.refunded[current_step().idempotency_key] = cents

    async def ship(self) -> None:
        self.asked.set()
        await self.answers.wait()
        if not self._has_room:
            raise NoParcel
        self.sent.add(current_step().idempotency_key)


class OfTheDead:
    """The queue of a process that died: it settles nothing more, so that its lease has to end."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def settle(self, *_: Any) -> Any:
        raise BackendUnavailable("the process is gone")


def declared(sagas: Sagas, outsiders: Outsiders) -> Saga[..., None]:
    @sagas.saga(give_up_on=(NoParcel,))
    async def order(run: SagaRun) -> None:
        await run.step("charge", outsiders.charge, 900, undo=outsiders.refund)
        await run.step("ship", outsiders.ship)

    return order


@pytest.mark.parametrize("has_room", [True, False], ids=["sent", "refunded"])
async def test_an_order_is_sent_or_refunded_though_its_process_dies_between_charge_and_parcel(
    backend: Any, *, has_room: bool
) -> None:
    sagas, outsiders = Sagas(unique("saga"), backend=backend), Outsiders(has_room=has_room)
    handle = await declared(sagas, outsiders).start()
    dead = Sagas(sagas.name, backend=backend)
    dead.queue = OfTheDead(dead.queue)  # type: ignore[assignment] # a queue, except for its settlements
    declared(dead, outsiders)
    async with anyio.create_task_group() as process:
        process.start_soon(SagaWorker(dead, drain_s=0.0).run)
        await outsiders.asked.wait()
        process.cancel_scope.cancel()
    assert await handle.status() is RunStatus.RUNNING
    assert (await sagas.queue.depth()).leased == 1
    assert (list(outsiders.charged.values()), outsiders.sent, outsiders.refunded) == ([900], set(), {})
    outsiders.answers.set()
    backend.shift(9.0)
    async with SagaWorker(sagas):
        if has_room:
            await handle.result(PATIENCE_S)
        else:
            with pytest.raises(SagaUndone, match="NoParcel"):
                await handle.result(PATIENCE_S)
    assert list(outsiders.charged.values()) == [900]
    assert (len(outsiders.sent), list(outsiders.refunded.values())) == ((1, []) if has_room else (0, [900]))
