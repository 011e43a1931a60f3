"""Steps with undo, in order: each is in the journal before it is taken, and all are taken back together."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from shop.ordering.domain import BY_CUSTOMER, CANCELLED, FAILED, PAID, PENDING, UNDOING, Checkout, Line, Order
from shop.ordering.store import OrderStore
from shop.problems import Problem


class Refused(Problem):
    """A step said no and is known to have done nothing."""


class Work(NamedTuple):
    """What the steps of one order need; the checkout lives only as long as the request."""

    order: Order
    lines: Sequence[Line]
    checkout: Checkout


class Step(NamedTuple):
    """Something to do for an order, and how to undo it; undoing what was never done is harmless.

    `undo` answers whether it is certain that nothing of the step is left. A step that is `free` to undo
    is undone as soon as the order is given up, and stays done when a paid order is cancelled.
    """

    name: str
    do: Callable[[Work], Awaitable[None]]
    undo: Callable[[str], Awaitable[bool]]
    free: bool = False


class Runner:
    """Takes an order through its steps, or back.

    Keeps: an order is paid only when all steps are done, and failed or cancelled only when each step that
    may have been taken is undone; two runners of one order never both decide.
    """

    def __init__(self, steps: Sequence[Step], store: OrderStore, now_us: Callable[[], int]) -> None:
        self.steps = tuple(steps)
        self._store = store
        self._now_us = now_us

    async def forward(self, work: Work) -> None:
        """Take all steps; a step that fails raises its Problem after the way back has begun."""
        order_id = work.order.order_id
        for place, step in enumerate(self.steps):
            try:
                await step.do(work)
            except Refused as refusal:
                await self.give_up(order_id, refusal.slug)
                with contextlib.suppress(Problem):  # the way back is taken again until it is done
                    await self.undo(order_id, FAILED, self.steps[:place])
                raise
            except Problem as problem:
                await self.give_up(order_id, problem.slug)
                raise
            await self._advance(order_id, place)

    async def give_up(self, order_id: str, reason: str) -> None:
        """Decide that a pending order will be undone."""
        journal = ("undo", "begun")
        if await self._store.change_status(order_id, PENDING, UNDOING, self._now_us(), journal, reason=reason):
            for step in self.steps:
                if step.free:
                    with contextlib.suppress(Problem):  # the way back is taken again until it is done
                        await step.undo(order_id)

    async def start_cancel(self, order_id: str) -> None:
        """Decide that a paid order will be undone, because its customer wants it."""
        await self._store.change_status(
            order_id, PAID, UNDOING, self._now_us(), ("cancel", "begun"), reason=BY_CUSTOMER
        )

    async def undo(self, order_id: str, end: str, steps: Sequence[Step] | None = None) -> bool:
        """Undo steps, the last first; True when the order is at this end for good."""
        for step in reversed(self.steps if steps is None else steps):
            if end == CANCELLED and step.free:
                continue
            if not await step.undo(order_id):
                return False
        done = ("undo" if end == FAILED else "cancel", "done")
        return await self._store.change_status(order_id, UNDOING, end, self._now_us(), done)

    async def finish(self, order_id: str, *steps: tuple[str, str]) -> bool:
        """Declare a pending order paid."""
        return await self._store.change_status(order_id, PENDING, PAID, self._now_us(), *steps)

    async def _advance(self, order_id: str, place: int) -> None:
        done = (self.steps[place].name, "done")
        if place + 1 == len(self.steps):
            going = await self.finish(order_id, done)
        else:
            begun = (self.steps[place + 1].name, "begun")
            going = await self._store.change_status(order_id, PENDING, PENDING, self._now_us(), done, begun)
        if not going:
            raise Problem(503, "order-undone", "The order took too long and is being undone.", retry_after_s=5)
