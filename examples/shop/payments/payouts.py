"""What the elected leader does: pay each seller once a night."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from sdpatterns import Election
from sdpatterns.coordination.election import Term
from sdpatterns.errors import BackendError, StaleFence
from shop.background import Unbroken
from shop.payments.payout_store import PayoutStore
from shop.problems import Problem

_log = logging.getLogger("shop.payments")
_LOOKS_S = 0.5
Stops = Callable[[float], Awaitable[None]]


class Payouts:
    """Pays sellers what they are owed, night by night.

    Keeps: a seller is paid once a night, whatever happens to leaders. A payout that has begun is carried through,
    also where its leader has lost its term meanwhile; so each bears the number of its term, and a seller's row
    refuses one that is older than the last that it has seen.

    There is no saga here: a payout is one transaction in the ledger of payments, and no other service takes part.
    """

    def __init__(self, store: PayoutStore, unbroken: Unbroken) -> None:
        self._store = store
        self._unbroken = unbroken

    async def lead(self, candidate: str, term: Term, stops: Stops) -> None:
        """Work as the leader until the term is over; at `stops` a fault may stop this candidate."""
        since_s, is_written_down = time.monotonic(), False
        while not await term.wait(_LOOKS_S):
            try:
                if not is_written_down:
                    await self._store.begin_term(term.number, candidate)
                    is_written_down = True
                night = await self._store.running_night()
                if night is not None:
                    await self._pay_all(night, term, lambda: stops(since_s))
            except StaleFence:
                _log.warning("a newer leader is at work", extra={"candidate": candidate})
            except Problem:  # the database has told what is wrong
                _log.warning("cannot pay the sellers; trying again")
            except Exception:  # noqa: BLE001 - whatever it is, the next round may do better
                _log.exception("cannot pay the sellers; trying again")

    async def _pay_all(self, night: int, term: Term, stops: Callable[[], Awaitable[None]]) -> None:
        while sellers := await self._store.unpaid(night):
            for seller in sellers:
                if term.is_over:
                    return
                await self._unbroken.run(self._pay(night, seller, term.number, stops))
        await self._store.end_night(night)
        _log.info("sellers paid", extra={"night": night, "term": term.number})

    async def _pay(self, night: int, seller: str, term: int, stops: Callable[[], Awaitable[None]]) -> None:
        amount_minor = await self._store.due(night, seller, term)
        if amount_minor is None:
            return
        await stops()
        try:
            await self._store.pay(night, seller, amount_minor, term)
        except StaleFence:
            await self._store.refused(night, seller, amount_minor, term)
            raise

    async def view(self, election: Election, candidates: Callable[[], int]) -> dict[str, Any]:
        """Who leads and since when, and how far the night is."""
        try:
            leader = await election.leader()
        except BackendError:
            leader = None
        standing = await self._store.standing(None if leader is None else leader.term)
        since_us = standing.pop("since_us")
        since = None if since_us is None else datetime.fromtimestamp(since_us / 1e6, UTC)
        return {
            "leader": None if leader is None else leader.candidate,
            "term": None if leader is None else str(leader.term),
            "since": None if since is None else since.isoformat(timespec="milliseconds"),
            "candidates": candidates(),
            **standing,
        }
