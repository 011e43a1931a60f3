"""What control does: audit the shop from its ledgers and the outsider's book, and show its defences."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from shop.background import happens
from shop.problems import Problem
from shop.service_client import ServiceClient, segment
from shop.settings import CONTEXTS
from shop.stage.control.audit import Audit
from shop.stage.control.desired_state import DesiredState
from shop.stage.control.domain import leadership
from shop.stage.control.feed import Feed
from shop.stage.control.follow_ups import LETTERS_SHOWN
from shop.stage.control.game_days import GameDays
from shop.stage.control.logs import Logs
from shop.stage.control.replicas import Replicas, edges
from shop.stage.control.rollouts import Rollouts
from shop.stage.control.scenario_runner import Load, ScenarioRunner
from shop.stage.control.service_map import service_map
from shop.stage.control.state_cache import REFRESH_MAX_S, State, StateCache
from shop.stage.control.switches import Defences
from shop.stage.control.traces import Traces
from shop.stage.control.views import Beats
from shop.stage.faults import TARGETS, parse
from shop.stage.switches import DEFENCES
from shop.validation import FieldError, InvalidInput

SETTLED_S = 1.0
_SHOWN_OF_ORDER = ("status", "reason", "total_minor", "currency", "coupon", "discount_minor", "lines")
_CALM_S = 4.0  # with every defence on and no fault; connections are kept for five
_UNDER_WAY_MAX_S = 10.0  # a stopped scenario has all put back while its reader looks on
_LOOKS_AGAIN_S = 0.1
_QUIET_S = 3.0  # how often a page that is open has a service asked that does nothing


class Control:
    """The control room.

    Keeps: figures come from the ledgers and the provider's book alone; an order in flight counts as no fault.
    """

    def __init__(
        self,
        services: Mapping[str, ServiceClient],
        replicas: Replicas,
        now_us: Callable[[], int],
        *,
        scenarios: ScenarioRunner,
        load: Load,
        rollouts: Rollouts,
        game_days: GameDays,
    ) -> None:
        self._services = services
        self._replicas = replicas
        self.now_us = now_us
        self.feed = Feed(replicas)
        self.traces = Traces(replicas)
        self.logs = Logs(replicas)
        self._audit = Audit(services, replicas, self.feed, now_us)
        self._desired = DesiredState(replicas)
        self.defences = Defences(self._desired, replicas, self._audit, self.feed, now_us)
        self.scenarios = scenarios
        self.load = load
        self.rollouts = rollouts
        self.game_days = game_days
        self._cache = StateCache(self._look, self._unseen())
        self._all_wanted = False

    def _unseen(self) -> State:
        """The state before the first look: the services there are, and nothing known of them."""
        unknown = {context: dict.fromkeys(self._replicas.addresses(context)) for context in CONTEXTS}
        return {
            "invariants": {},
            "defences": self.defences.view({}, {}),
            "faults": [],
            "fault": None,
            "services": self._replicas.services(unknown),
            "edges": [],
            "service_map": service_map({}),
            "orders": {},
            "limiter": {},
            "breaker": {},
            "turns": {},
            "election": {},
            "queues": {},
            "follow_ups": {},
            "dead_letters": [],
            "sagas": {},
            "projections": {},
        }

    async def invariants(self) -> dict[str, dict[str, Any]]:
        """Each invariant with its verdict of this moment, from ledgers read from end to end."""
        return await self._audit.reread()

    async def state(self, age_max_s: float = 0.0, patience_s: float = REFRESH_MAX_S) -> State:
        """Everything the control page shows, looked up again unless it is younger than `age_max_s`.

        With an age of 0 every service is asked, else those that do something are.

        Keeps: answers within `patience_s`; where a new look takes longer, `age_s` says how old the answer is.
        """
        self._all_wanted |= age_max_s == 0
        seen = await self._cache.get(age_max_s, patience_s)
        now_us = self.now_us()
        faults = [_aged(fault, seen.age_s or 0.0) for fault in seen.state["faults"]]
        return {
            **seen.state,
            "faults": [fault for fault in faults if fault["left_s"] > 0],
            "age_s": None if seen.age_s is None else round(seen.age_s, 1),
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "lanes": self.feed.history.lanes(now_us),
            "history": self.feed.history.view(now_us),
            "budgets": self.feed.budgets.view(now_us),
            "load": self.load.view(),
            "scenario": self.scenarios.view(),
            "rollout": self.rollouts.view(),
            "game_day": self.game_days.view(),
        }

    async def aclose(self) -> None:
        """Stop looking."""
        await self.rollouts.aclose()
        await self._cache.aclose()

    async def _look(self) -> State:
        quiet_s, self._all_wanted = 0.0 if self._all_wanted else _QUIET_S, False
        audit = self._audit
        await audit.look(quiet_s=quiet_s)
        limiter = audit.figure("gateway", "/internal/limiter").get("limiter", {})
        self.defences.note(*audit.ledgers.news(), limiter)
        counts, pulses = audit.figure("ordering", "/internal/counts"), audit.pulses
        self.feed.budgets.take_calls(pulses.get("payments", {}), self.now_us())
        breaker = audit.figure("payments", "/internal/defences").get("breaker", {})
        turns = audit.figure("ordering", "/internal/defences").get("turns", {})
        election = audit.figure("payments", "/internal/election").get("election", {})
        faults = [
            pulse["fault"] for beats in pulses.values() for pulse in [*beats.values()][:1] if pulse and pulse["fault"]
        ]
        projections = audit.figure("ordering", "/internal/projections").get("projections", {})
        tables = projections.get("orders", {})
        on = _positions(pulses)
        keys = {"orders": counts.get("paid", {}).get("orders", 0), "checkouts_running": turns.get("running", 0)}
        states = {
            "limiter": limiter,
            "breaker": breaker,
            "idempotency": keys,
            "fencing": {"refused": self.defences.refused(), "night": election.get("night")},
            "outbox": audit.queues.card("outbox"),
            "undo": {"being_undone": counts.get("undoing", {}).get("orders", 0)},
            "upcaster": {"of_the_first_release": self.defences.written_earlier()},
            "position": {"events_behind": tables.get("behind", 0)},
            "inbox": {"orders_taken_on": len(audit.follow_ups.counted["fulfilment"])},
            "jobs": audit.queues.card("jobs"),
        }
        return {
            "invariants": await self._verdicts(),
            "defences": self.defences.view(on, states),
            "faults": faults,
            "fault": next((fault for fault in faults if fault["target"] == "psp"), None),
            "services": self._replicas.services(pulses),
            "edges": _with_breaker(edges(pulses), breaker if on.get("breaker", True) else {}),
            "service_map": service_map(pulses),
            "orders": counts,
            "limiter": limiter,
            "breaker": breaker,
            "turns": turns,
            "election": {**election, "facts": leadership(election)},
            "queues": audit.queues.view(),
            "follow_ups": audit.follow_ups.view(),
            "dead_letters": audit.queues.letters[:LETTERS_SHOWN],
            "sagas": audit.figure("ordering", "/internal/sagas"),
            "projections": projections,
        }

    async def _verdicts(self) -> dict[str, dict[str, Any]]:
        """The verdicts; those of the last look while a book cannot be read."""
        if not self._audit.problem:
            try:
                return await self._audit.verdicts()
            except Problem as problem:
                return _not_checked(self._cache.last["invariants"], problem.detail)
        return _not_checked(self._cache.last["invariants"], self._audit.problem)

    async def begin_fault(self, body: Any) -> Any:
        """Begin a fault at its target."""
        fault = parse(body)
        begun = await self._desired.begin(fault)
        self._mark(f"{fault.target}: {fault.kind}")
        return begun

    async def heal(self, *targets: str) -> Any:
        """Heal these targets at once, or all of them."""
        for target in targets or TARGETS:
            if target not in TARGETS:
                raise InvalidInput(FieldError("/target", f"must be one of {', '.join(TARGETS)}"))
        healed = await self._desired.heal(*(targets or TARGETS))
        self._mark(f"{', '.join(targets) or 'everything'} healed")
        return healed

    async def set_switch(self, name: str, *, on: bool) -> None:
        """Turn a defence on or off on all replicas that have its line."""
        await self.defences.set_switch(name, on=on)
        self._mark(f"{name} {'on' if on else 'off'}")

    async def dead_letters(self) -> Any:
        """All dead letters."""
        return await self._services["fulfilment"].ask("GET", "/internal/dead-letters")

    async def redrive(self, body: Any) -> Any:
        """Try dead letters again: the one that is named, or all."""
        redriven = await self._services["fulfilment"].ask("POST", "/internal/dead-letters/redrive", body=body)
        self._mark("dead letters redriven")
        return redriven

    async def order(self, order_id: str) -> dict[str, Any]:
        """The way of one order: the runs of its sagas, and what was true of it after each of its events."""
        ordering = self._services["ordering"]
        history = await ordering.ask("GET", f"/internal/histories/{segment(order_id)}")
        runs = []
        for run_id in (order_id, f"{order_id}-cancel", f"{order_id}-return"):
            try:
                runs.append(await ordering.ask("GET", f"/internal/sagas/{run_id}"))
            except Problem as problem:
                if problem.status != 404:
                    raise
        then = [{**row, "then": {name: row["then"][name] for name in _SHOWN_OF_ORDER}} for row in history["history"]]
        return {"order_id": order_id, "runs": runs, "history": then}

    async def resume(self, run_id: str) -> Any:
        """Let a run go on that waits for a person."""
        resumed = await self._services["ordering"].ask("POST", f"/internal/sagas/{segment(run_id)}/resume")
        self._mark("a saga resumed")
        return resumed

    def _mark(self, text: str) -> None:
        self.feed.history.mark(self.now_us(), text)

    async def reconcile(self) -> None:
        """Hold every replica to what is wanted, once a second while that is anything unusual; never ends by itself."""
        while True:
            self._desired.changed.clear()
            await self.defences.reconcile()
            await asyncio.sleep(SETTLED_S)
            if self._desired.is_plain:
                await happens(self._desired.changed, _CALM_S - SETTLED_S)

    async def deliver(self, sku: str, pieces: int) -> None:
        """Have more pieces delivered, booked as received like any others."""
        body = {"delivery_id": f"del_{secrets.token_hex(10)}", "sku": sku, "pieces": pieces}
        await self._services["inventory"].ask("POST", "/internal/deliveries", body=body)

    async def issue_coupon(self, code: str, uses: int, off_minor: int) -> None:
        """Issue a coupon."""
        body = {"code": code, "uses": uses, "off_minor": off_minor}
        await self._services["payments"].ask("POST", "/internal/coupons", body=body)

    def begin_rollout(self, service: str, *, has_bug: bool, at_once: bool) -> None:
        """Begin to roll out the next release of a service."""
        self.rollouts.begin(service, has_bug=has_bug, at_once=at_once)
        self._mark(f"{service}: new release")

    async def run_night(self) -> Any:
        """Have the leader pay the sellers now."""
        night = await self._services["payments"].ask("POST", "/internal/nights")
        self._mark(f"night {night['night']}")
        return night

    async def cancel_second_orders(self) -> list[str]:
        """Cancel, which refunds them, the orders of baskets that an earlier order had bought."""
        ends_s = _now_s() + _UNDER_WAY_MAX_S
        # An order that is under way may be the second one too, and its customer may have stopped waiting for it.
        while await self._has_orders_under_way() and _now_s() < ends_s:  # noqa: ASYNC110 - services are asked over HTTP
            await asyncio.sleep(_LOOKS_AGAIN_S)
        again = await self._audit.second_orders()
        for order_id in again:
            await self._services["ordering"].ask("POST", f"/api/v1/orders/{segment(order_id)}/cancel")
        return again

    async def _has_orders_under_way(self) -> bool:
        orders = (await self.state())["orders"]
        return any(orders.get(status, {}).get("orders", 0) for status in ("pending", "undoing"))

    async def reverse_payouts(self) -> Any:
        """Have what was paid twice claimed back."""
        return await self._services["payments"].ask("POST", "/internal/reversals")


def _now_s() -> float:
    return asyncio.get_running_loop().time()


def _aged(fault: Mapping[str, Any], age_s: float) -> dict[str, Any]:
    """A fault with the seconds it has left now, rather than when it was looked up."""
    return {**fault, "left_s": round(fault["left_s"] - age_s, 1)}


def _not_checked(verdicts: Mapping[str, Mapping[str, Any]], why: str) -> dict[str, dict[str, Any]]:
    """The last verdicts, marked as such: a ledger cannot be read."""
    return {
        name: {**verdict, "checked": False, "detail": f"not checked just now: {why}"}
        for name, verdict in verdicts.items()
    }


def _positions(pulses: Mapping[str, Beats]) -> dict[str, bool]:
    """Whether each defence stands: at every replica that has its line and answers."""
    return {
        name: all(pulse["switches"].get(name, True) for pulse in pulses[context].values() if pulse)
        for name, context in DEFENCES.items()
    }


def _with_breaker(found: list[dict[str, Any]], breaker: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The breaker before the provider tells its state itself, before it has ever opened too."""
    for edge in found:
        if (edge["from"], edge["to"]) == ("payments", "psp"):
            edge["breaker"] = breaker.get("state")
    return found
