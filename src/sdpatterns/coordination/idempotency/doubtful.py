"""Claims that may have been made although the reply was lost: they are released in the background."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sdpatterns.coordination.idempotency.decision import Record, Release
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.runtime import current
from sdpatterns.errors import BackendError
from sdpatterns.ports.states import Cells

__all__ = ["DoubtfulClaims"]

_PENDING_MAX = 1_000
_PAUSE_FIRST_S = 0.05
_PAUSE_MAX_S = 1.0
_ASKS_MAX = 6


class _Doubtful(NamedTuple):
    cell: str
    until: float
    asks_left: int


class DoubtfulClaims:
    """The claims of one policy that may have been made, because the reply was lost.

    **Keeps**: such a key is free again as soon as the store can be asked, and not only when its lease is
    over; a claim of another owner is never touched. A request that is still on its way may make its claim
    late, so the store is asked several times. **May fail** with nothing: at worst the key is busy until the lease ends.
    **Costs** one task or thread while there are any, for at most a lease; over 1,000 of them the rest
    waits for its lease to end.
    """

    __slots__ = ("_cells", "_lease_s", "_pending", "_runs", "_topic")

    def __init__(self, cells: Cells[Record], topic: Callable[[str], str], lease_s: float) -> None:
        self._cells = cells
        self._topic = topic
        self._lease_s = lease_s
        self._pending: dict[str, _Doubtful] = {}
        self._runs = False

    def add(self, cell: str, owner: str) -> None:
        """Give the key back in the background, if this owner holds it."""
        if len(self._pending) >= _PENDING_MAX:
            return
        self._pending[owner] = _Doubtful(cell, SYSTEM.monotonic() + self._lease_s, _ASKS_MAX)
        if not self._runs:
            self._runs = True
            current().apart(self._work)

    async def _work(self) -> None:
        pause_s = _PAUSE_FIRST_S
        try:
            while self._pending:
                await self._ask_for_all()
                await current().sleep(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_MAX_S)
        finally:
            # Also where the loop is closed meanwhile: the next one begins another.
            self._runs = False

    async def _ask_for_all(self) -> None:
        for owner, claim in list(self._pending.items()):
            if claim.until <= SYSTEM.monotonic():
                self._pending.pop(owner, None)
                continue
            try:
                held = await self._cells.transact(claim.cell, Release(owner, 0, self._topic(claim.cell)))
            except BackendError:
                # The store is away for all of them, so the others are asked for in the next round.
                return
            if held or claim.asks_left <= 1:
                self._pending.pop(owner, None)
            else:
                # Not held: the request that makes the claim may still be on its way.
                self._pending[owner] = claim._replace(asks_left=claim.asks_left - 1)
