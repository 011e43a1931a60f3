"""The defences with their switches, each with the harm since its switch was last changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from shop.problems import not_found
from shop.stage.control.audit import Audit
from shop.stage.control.desired_state import DesiredState
from shop.stage.control.feed import Answer, Feed
from shop.stage.control.harm import (
    Served,
    Share,
    Visit,
    behind_the_log,
    charged_twice,
    kept_waiting,
    known_down_after,
    misread,
    overspent,
    paid_for_nothing,
    paid_twice,
)
from shop.stage.control.replicas import Replicas
from shop.stage.control.views import Row
from shop.stage.switches import DEFENCES

_CLIENTS_MAX = 1_000
_VISITS_MAX = 50_000


@dataclass(frozen=True, slots=True)
class Harm:
    """How many were harmed, in words too, and where that is read."""

    count: int
    unit: str
    detail: str
    source: str


class Defences:
    """Switches and harm.

    Keeps: harm counts from the moment at which the last replica had changed its switch; what was on its way
    in that moment is judged by neither position.
    """

    def __init__(
        self,
        desired: DesiredState,
        replicas: Replicas,
        audit: Audit,
        feed: Feed,
        now_us: Callable[[], int],
    ) -> None:
        self._desired = desired
        self._audit = audit
        self._books = audit.follow_ups
        self._replicas = replicas
        self._ledgers = audit.ledgers
        self._feed = feed
        self._now_us = now_us
        self.since_us = dict.fromkeys(DEFENCES, now_us())
        self._placed: dict[str, dict[str, Row]] = {"breaker": {}, "idempotency": {}, "undo": {}, "upcaster": {}}
        self._visits: list[Visit] = []
        self._shares: dict[str, Share] = {}
        self._rate = (20.0, 40)
        self._lock = asyncio.Lock()

    async def set_switch(self, name: str, *, on: bool) -> None:
        """Turn a defence on or off on all replicas that have its line; the harm is counted from zero from then on."""
        if name not in DEFENCES:
            raise not_found("such switch")
        async with self._lock:
            await self._desired.set_switch(name, on=on)
            self._count_afresh(name)

    async def reconcile(self) -> None:
        """Hold all replicas to what is wanted; a defence that had to be put back did no harm until now."""
        async with self._lock:
            for name in await self._desired.reconcile():
                self._count_afresh(name)

    def _count_afresh(self, name: str) -> None:
        self.since_us[name] = self._now_us()
        if name == "limiter":
            self._shares.clear()
            self._feed.judged()
        elif name in self._placed:
            self._placed[name].clear()
        if name == "breaker":
            self._visits.clear()

    def note(self, orders: Iterable[Row], visits: Iterable[Visit], limiter: Mapping[str, Any]) -> None:
        """Take in what happened since the last look."""
        self._visits = (self._visits + list(visits))[-_VISITS_MAX:]
        for row in orders:
            for name, placed in self._placed.items():
                if row["placed_at_us"] >= self.since_us[name]:
                    placed[row["order_id"]] = row
        if limiter:
            counts = limiter.get("counts", 1)
            self._rate = (float(limiter["searches_a_second"] * counts), int(limiter["searches_at_once"] * counts))
        for answer in self._feed.judged():
            self._note_answer(answer)

    def _note_answer(self, answer: Answer) -> None:
        if answer.kind != "search" or answer.status == 429 or answer.arrived_us < self.since_us["limiter"]:
            return
        if answer.client in self._shares or len(self._shares) < _CLIENTS_MAX:
            share = self._shares.setdefault(answer.client, Share(*self._rate))
            share.add(Served(answer.arrived_us, answer.answered_us))

    def view(self, on: Mapping[str, bool], states: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Each defence as the control room shows it."""
        harms = {
            "limiter": self._limiter(),
            "breaker": self._breaker(),
            "idempotency": self._idempotency(),
            "fencing": self._fencing(),
            "outbox": self._outbox(),
            "undo": self._undo(),
            "upcaster": self._upcaster(),
            "position": self._position(),
            "inbox": self._inbox(),
            "jobs": self._jobs(),
        }
        return {
            name: {
                "on": on.get(name, True),
                "since": datetime.fromtimestamp(self.since_us[name] / 1e6, UTC).isoformat(timespec="milliseconds"),
                "harm": asdict(harm),
                "state": dict(states.get(name, {})),
            }
            for name, harm in harms.items()
        }

    def _limiter(self) -> Harm:
        now_us = self._now_us()
        counts = {client: share.beyond(now_us) for client, share in self._shares.items()}
        hurt = {client: count for client, count in counts.items() if count}
        greedy = max(hurt, key=lambda client: hurt[client], default="")
        detail = f"{greedy} alone got {hurt[greedy]} too many" if hurt else f"{len(counts)} clients searched"
        source = "the answers that clients saw"
        return Harm(sum(hurt.values()), "searches above the limit that were let through", detail, source)

    def _breaker(self) -> Harm:
        placed = self._placed["breaker"]
        breakers, callers = (len(self._replicas.addresses(name)) for name in ("payments", "ordering"))
        count = kept_waiting(placed.values(), self._visits, known_down_after(breakers, callers))
        unit = "customers kept waiting for a provider that is known to be down"
        return Harm(count, unit, f"of {len(placed)} orders", "orders and the provider's access book")

    def _idempotency(self) -> Harm:
        placed = self._placed["idempotency"]
        count = charged_twice(placed.values(), self._ledgers.charged)
        return Harm(count, "customers charged twice", f"of {len(placed)} orders", "orders and the provider's book")

    def _undo(self) -> Harm:
        placed = self._placed["undo"]
        count = paid_for_nothing(placed.values(), self._ledgers.charged)
        source = "orders and the provider's book"
        return Harm(count, "customers who paid for an order that failed", f"of {len(placed)} orders", source)

    def _upcaster(self) -> Harm:
        placed = self._placed["upcaster"]
        count = misread(placed.values(), self._ledgers.charged)
        unit = "orders whose total is not what their customer paid"
        detail = f"of {len(placed)} orders, {self.written_earlier()} of them written by the first release"
        return Harm(count, unit, detail, "orders and the provider's book")

    def written_earlier(self) -> int:
        """How many orders were written in an earlier form since the switch of the upcaster was changed."""
        since_us = self.since_us["upcaster"]
        return sum(it.version == 1 and it.placed_us >= since_us for it in self._ledgers.logged.values())

    def _position(self) -> Harm:
        since_us, ledgers = self.since_us["position"], self._ledgers
        count = behind_the_log(ledgers.logged, ledgers.orders, since_us)
        judged = sum(it.placed_us >= since_us for it in ledgers.logged.values())
        unit = "orders that the tables of orders have lost, or stopped to follow"
        return Harm(count, unit, f"of {judged} orders in the log", "the log of events and the tables")

    def _fencing(self) -> Harm:
        since_us, uses_max = self.since_us["fencing"], {row["code"]: row["uses_max"] for row in self._audit.coupons}
        twice = paid_twice(self._ledgers.payouts, since_us)
        beyond = overspent(self._ledgers.orders.values(), uses_max, since_us)
        detail = f"{twice} of {self._payouts_since('paid')} payouts, {beyond} coupons"
        unit = "sellers paid twice, and coupons used beyond their budget"
        return Harm(twice + beyond, unit, detail, "the ledger of payouts, and orders")

    def refused(self) -> int:
        """How many payouts of late leaders were refused."""
        return self._payouts_since("refused")

    def _payouts_since(self, kind: str) -> int:
        since_us = self.since_us["fencing"]
        return sum(row["kind"] == kind and row["at_us"] >= since_us for row in self._ledgers.payouts)

    def _outbox(self) -> Harm:
        since_us = self.since_us["outbox"]
        unit = "paid orders that were never followed up: no mail, no invoice, no parcel"
        detail, source = f"of {self._books.judged(since_us)} paid orders", "orders, and those that fulfilment took on"
        return Harm(self._books.unheard(since_us), unit, detail, source)

    def _inbox(self) -> Harm:
        since_us = self.since_us["inbox"]
        detail = f"of {self._books.judged(since_us)} paid orders"
        source = "the invoices, the mail server's book and the carrier's"
        return Harm(self._books.doubled(since_us), "mails, invoices and parcels too many", detail, source)

    def _jobs(self) -> Harm:
        since_us = self.since_us["jobs"]
        unit = "customers without a confirmation, because another one's message is stuck"
        detail = f"of {self._books.judged(since_us)} paid orders"
        source = "the access books of the mail server, the sellers and the carrier"
        return Harm(self._books.held_up(since_us), unit, detail, source)
