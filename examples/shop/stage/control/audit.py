"""A look at the whole shop: one request to each service, which answers all that the control room asks of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from shop.background import together
from shop.problems import Problem
from shop.service_client import ServiceClient
from shop.settings import CONTEXTS, PUBLIC, WATCHING
from shop.stage.control.domain import (
    bought_again,
    judge_baskets,
    judge_coupons,
    judge_ledger,
    judge_payouts,
    judge_progress,
    judge_stock,
)
from shop.stage.control.feed import Feed
from shop.stage.control.follow_ups import FollowUpBooks, Queues
from shop.stage.control.ledgers import LEDGER_PATHS, Ledgers
from shop.stage.control.replicas import Replicas
from shop.stage.control.views import Beats, Question, Reading, Row, View

_FIRST = "ordering"  # what the others have is judged by its orders, so it is never younger than they are
_AGREEMENTS = {"psp": "charged_equals_paid", "payments": "ledger_equals_paid"}
_LIVE = {
    "gateway": ("/internal/limiter",),
    "ordering": ("/internal/defences", "/internal/queues"),
    "payments": ("/internal/defences", "/internal/election"),
    "fulfilment": ("/internal/queues",),
}
_BOOKS = {
    "ordering": ("/internal/counts", "/internal/orders-with-coupons", "/internal/sagas", "/internal/projections"),
    "payments": ("/internal/audit", "/internal/payouts/audit", "/internal/coupons"),
    "inventory": ("/internal/audit",),
    "cart": ("/internal/audit",),
    "fulfilment": ("/internal/counts", "/internal/dead-letters"),
}

_ASKED = tuple(context for context in CONTEXTS if context != WATCHING)
_SELF = {
    "rate": 0.0,
    "failing": 0.0,
    "p95_ms": 0.0,
    "calls": [],
    "traced": [],
    "switches": {},
    "fault": None,
    "version": 1,
    "share": 0.0,
}

Verdicts = dict[str, dict[str, Any]]
Rows = dict[str, dict[str, list[Row]]]
Readings = dict[str, dict[str, Reading]]


class Audit:
    """What all services say of themselves, and what their books say.

    Keeps: a look asks each service once, and a service reads its books again only where its data has changed; what
    was not taken in whole is asked for again. With `quiet_s`, a service that does nothing is asked as rarely as
    that, as long as no order has changed.
    """

    def __init__(
        self, services: Mapping[str, ServiceClient], replicas: Replicas, feed: Feed, now_us: Callable[[], int]
    ) -> None:
        self._services = services
        self._replicas = replicas
        self._feed = feed
        self._now_us = now_us
        self._lock = asyncio.Lock()
        self.ledgers = Ledgers(services)
        self.follow_ups = FollowUpBooks()
        self.queues = Queues()
        self.problem = ""
        """Why the books could not be read in the last look; empty if they could."""
        self._is_taken_in = False  # whether the last look came to its end
        self._views: dict[str, View] = {}
        self._versions: dict[str, str] = {}
        self._figures: dict[tuple[str, str], Any] = {}

    async def look(self, *, quiet_s: float = 0.0) -> None:
        """Look at what has changed."""
        async with self._lock:
            await self._look(quiet_s, whole=False)

    async def reread(self) -> Verdicts:
        """The verdicts after all ledgers were read from end to end."""
        async with self._lock:
            self._versions.clear()
            await self._look(0.0, whole=True)
            if self.problem:
                raise Problem(503, "unavailable", self.problem, retry_after_s=2)
            return await self.verdicts()

    async def _look(self, quiet_s: float, *, whole: bool) -> None:
        began_us = self._now_us()
        readings = self._readings(whole=whole)
        first = self._views[_FIRST] = await self._asked(_FIRST, readings)
        quiet_s = quiet_s if self._is_taken_in and first.books is None else 0.0
        self._is_taken_in = False
        due = [context for context in _ASKED if context != _FIRST and not self._may_wait(context, quiet_s)]
        found = await together(*(self._asked(context, readings) for context in due))
        self._views.update(zip(due, found, strict=True))
        self._take_live((_FIRST, *due))
        try:
            await self._take_books((_FIRST, *due), readings, began_us, whole=whole)
            self.problem, self._is_taken_in = "", True
        except Problem as problem:
            self.problem = problem.detail

    def _readings(self, *, whole: bool) -> Readings:
        found: Readings = {context: {} for context in _ASKED}
        for books in (self.ledgers, self.follow_ups):
            for context, readings in books.readings(whole=whole).items():
                found[context].update(readings)
        return found

    async def _asked(self, context: str, readings: Readings) -> View:
        books = (*_BOOKS.get(context, ()), *(reading.first for reading in readings[context].values()))
        question = Question(_LIVE.get(context, ()), books, self._versions.get(context, ""))
        if context != PUBLIC:
            return await self._replicas.view(context, question)
        asked: dict[str, str] = {}

        def answers(address: str) -> tuple[str]:
            asked[address] = self._feed.next_page(address)
            return (asked[address],)

        view = await self._replicas.view(context, question, answers)
        for address, replica in zip(view.addresses, view.replicas, strict=True):
            page = asked[address]
            self._feed.take(address, page, (replica or {}).get("live", {}).get(page))
        return view

    def _may_wait(self, context: str, quiet_s: float) -> bool:
        """Whether what is known of a service is new enough for this look."""
        view = self._views.get(context)
        if view is None or context in _LIVE:
            return False
        return view.is_quiet and view.asked_s > max(time.monotonic() - quiet_s, self._replicas.changed_s)

    def _take_live(self, contexts: Iterable[str]) -> None:
        for context in contexts:
            live = self._views[context].live
            self._figures.update({(context, path): live[path] for path in _LIVE.get(context, ()) if path in live})
            self.queues.depths.update(live.get("/internal/queues", {}).get("queues", {}))

    async def _take_books(self, contexts: Iterable[str], readings: Readings, began_us: int, *, whole: bool) -> None:
        views = {context: self._views[context] for context in contexts if _BOOKS.get(context) or readings[context]}
        for context, view in views.items():
            if view.problem != "":
                raise Problem(503, "unavailable", view.problem or f"The {context} does not answer.")
        changed = {context: view.books for context, view in views.items() if view.books is not None}
        rows = await self._rows(changed, readings)
        self.ledgers.take(rows, began_us, whole=whole)
        self.follow_ups.take(rows, began_us, whole=whole)
        for context, books in changed.items():
            self._versions[context] = views[context].version
            self._figures.update({(context, path): books[path] for path in _BOOKS.get(context, ())})
        numbers = self.figure("fulfilment", "/internal/counts")
        self.follow_ups.judge(self.ledgers.orders, self.queues.depths["outbox"], numbers)
        self.queues.letters = self.figure("fulfilment", "/internal/dead-letters")["letters"]

    async def _rows(self, changed: Mapping[str, Mapping[str, Any]], readings: Readings) -> Rows:
        """The rows of all books; none of those that have not changed."""
        rows: Rows = {context: {name: [] for name in named} for context, named in readings.items()}
        read = [(context, name) for context in changed for name in readings[context]]
        found = await together(
            *(
                reading.to_the_end(self._services[context], changed[context][reading.first])
                for context, name in read
                for reading in [readings[context][name]]
            )
        )
        for (context, name), its in zip(read, found, strict=True):
            rows[context][name] = its
        return rows

    def figure(self, context: str, path: str) -> dict[str, Any]:
        """What a service last answered to this; empty before its first answer."""
        return dict(self._figures.get((context, path), {}))

    @property
    def pulses(self) -> dict[str, Beats]:
        """The pulses by context. The control room's own needs no look."""
        return {context: self._beats(context) for context in CONTEXTS}

    def _beats(self, context: str) -> Beats:
        if context in self._views:
            return self._views[context].pulses
        return dict.fromkeys(self._replicas.addresses(context), _SELF)

    async def verdicts(self) -> Verdicts:
        """Each invariant with its verdict by the last look; what differs is looked at again."""
        agreements = await together(*(self.ledgers.verdict(keeper) for keeper in LEDGER_PATHS))
        with_coupons = self.figure("ordering", "/internal/orders-with-coupons")
        found = {
            **dict(zip(map(_AGREEMENTS.__getitem__, LEDGER_PATHS), agreements, strict=True)),
            "ledger_balances": judge_ledger(self.figure("payments", "/internal/audit")),
            "stock_accounted_for": judge_stock(self.figure("inventory", "/internal/audit")),
            "carts_bought_once": judge_baskets(self.figure("cart", "/internal/audit"), self.ledgers.orders),
            "no_order_stuck": judge_progress(self.figure("ordering", "/internal/counts"), self._now_us()),
            "sellers_paid_once": judge_payouts(self.figure("payments", "/internal/payouts/audit")),
            "coupons_within_budget": judge_coupons(self.coupons, with_coupons),
            "invoiced_and_confirmed_once": self.follow_ups.verdict(),
        }
        return {name: {"holds": verdict.holds, "detail": verdict.detail} for name, verdict in found.items()}

    async def second_orders(self) -> list[str]:
        """The paid orders of baskets that an earlier order had bought, from ledgers read from end to end."""
        await self.reread()
        return bought_again(self.figure("cart", "/internal/audit"), self.ledgers.orders)

    @property
    def coupons(self) -> list[Row]:
        """The coupons there are."""
        return list(self.figure("payments", "/internal/coupons").get("coupons", ()))
