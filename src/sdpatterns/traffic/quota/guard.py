"""The public class of a quota: it asks the store, and emits notices."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import cast

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.forks import new_lock
from sdpatterns.core.guard import StatefulGuard
from sdpatterns.core.judging import answering
from sdpatterns.core.keys import check_key, check_name, join_key
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.core.outage import OnOutage, Outage
from sdpatterns.core.outcome import Outcome
from sdpatterns.core.ranges import whole
from sdpatterns.core.runtime import BLOCKING, Runtime, finish
from sdpatterns.core.tracing import TRACERS, decided_in_span
from sdpatterns.errors import BackendError, BackendUnavailable, RateLimited
from sdpatterns.ports.local import LocalCells
from sdpatterns.ports.spare import SpareCells
from sdpatterns.ports.states import KEYS_MAX, Cells, Space, StateStore, check_store, rely_on, where_of
from sdpatterns.traffic.quota.answer import QuotaDecision, Standing
from sdpatterns.traffic.quota.calendar import Calendar, CurrentPeriods
from sdpatterns.traffic.quota.config import PERIODS, Allowance, Plans, plans_of
from sdpatterns.traffic.quota.decision import ANY, CODEC, Adjust, Counted, State, Usage, Use
from sdpatterns.traffic.quota.notices import QuotaBypassed, QuotaReached, QuotaRefused

__all__ = ["Quota"]

_OUTAGE_RETRY_S = 1.0
_TURNS_MAX = 4
_SETTLING = new_lock()


class Quota(StatefulGuard):
    """Limits how much each key may use in a day, a week, a month or a year of the calendar.

    `plans`: one `Allowance` (`monthly(10_000)`); several that must all hold; or allowances by the name of
    a plan, and then `plan` says which one is a key's: a mapping from key to plan, or a function.
    `zone`: the time zone of the midnights. `month_begins`: the day on which months begin, for plans that are
    billed from another day than the first. `notify_at`: listeners get a notice when these shares of an
    allowance are used. `store`, `on_outage` and `keys_max`: as with `RateLimiter`.

    **Keeps**: no period of the store's calendar holds more than the plan's count for a key; a
    request counts in all periods or in none; a refused one uses nothing; what was used stays used
    when a key changes its plan; a count lasts until its own end, also if the zone changes. Used
    without a key (`@quota`, `quota.guard()`, in a `Pipeline`) it counts all these calls together, under
    the empty key, in every process that shares the store. A quota with several plans always needs its key.

    **May fail**: `acquire` never refuses by exception; if the store is away, `on_outage` decides, and
    listeners get `QuotaBypassed`. `ValueError` for a cost above the plan's smallest allowance, because it
    could never pass, and for a plan that does not exist.
    **Costs**: one step on the store, and one more for the first request of a period in each process;
    three numbers for each period and key. In memory no checkpoint.

    ```python
    quota = Quota("partners", [monthly(10_000), daily(1_000)], zone="Europe/Berlin")
    decision = await quota.acquire("partner:7")
    ```
    """

    def __init__(
        self,
        name: str,
        plans: Plans,
        *,
        plan: Mapping[str, str] | Callable[[str], str] | None = None,
        zone: str = "UTC",
        month_begins: int = 1,
        notify_at: Sequence[float] = (0.8, 1.0),
        store: StateStore | None = None,
        on_outage: OnOutage = "allow",
        keys_max: int = KEYS_MAX,
    ) -> None:
        self.name = check_name("Quota", name)
        self.needs_key = plan is not None
        self._outage = Outage(f"Quota {name!r}", on_outage, store)
        self._plans = plans_of(plans)
        if (plan is None) != ("" in self._plans):
            raise ValueError("plan must say which of several plans a key has, and be left out where they have no names")
        if not all(0 < share <= 1 for share in notify_at):
            raise ValueError(f"notify_at must hold shares above 0 and at most 1, got {notify_at!r}")
        self._plan = answering("plan", plan) if callable(plan) else plan
        self._marks = {
            name: [(allowance, _marks(allowance, notify_at)) for allowance in allowances]
            for name, allowances in self._plans.items()
        }
        self._zone = zone
        self._calendar = Calendar(zone, month_begins)
        self._periods: CurrentPeriods | None = None
        if store is not None:
            check_store(store)
            rely_on(store, f"Quota {name!r}")
        self._runtime: Runtime | None = None if store is None else store.runtime
        self._where = where_of(store)
        space = Space(join_key("quota", name), CODEC, keys_max=keys_max)
        self._cells: Cells[State] = LocalCells(space) if store is None else store.cells(space)
        if on_outage == "allow" and not isinstance(self._cells, LocalCells):
            self._cells = SpareCells(self._cells, f"Quota {name!r}", name)

    @property
    def runtime(self) -> Runtime | None:
        """The runtime that its store needs."""
        return self._runtime

    @property
    def never_waits(self) -> bool:
        """Whether its store is in this process, or blocks."""
        return self.runtime is None or self.runtime is BLOCKING

    def describe(self) -> str:
        """Its plans."""
        each = (
            f"{name}: {how}" if name else how
            for name, allowances in self._plans.items()
            for how in [", ".join(f"{allowance.count} a {allowance.period}" for allowance in allowances)]
        )
        return f"Quota {self.name!r} ({'; '.join(each)}; {self._zone})"

    def standing(self) -> str:
        """Where it counts."""
        return self._where + (", which is away" if self._outage.is_on else "")

    async def acquire(self, key: str, cost: int = 1) -> QuotaDecision:
        """Whether `cost` may be used for this key now; then it is. Never waits, never raises a refusal."""
        taken = self._acquire(key, cost)
        return cast("QuotaDecision", await decided_in_span(self, taken)) if TRACERS else await taken

    def acquire_now(self, key: str, cost: int = 1) -> QuotaDecision:
        """`acquire` without an await, where the store is in this process (TypeError elsewhere)."""
        if not self.never_waits:
            raise TypeError(f"the store of Quota {self.name!r} is not in this process: await acquire(...)")
        return finish(self.acquire(key, cost))

    async def peek(self, key: str, cost: int = 1) -> QuotaDecision:
        """What `acquire` would answer, using nothing. Raises what the store raises."""
        return await self._counted(key, self._plan_of(key), cost, look=True)

    async def settle(self, decision: QuotaDecision, cost: int) -> None:
        """Correct the cost of a request that has passed, once you know it.

        It may be more than the plan has left, because what has happened is counted. A period that
        is over meanwhile stays as it was. Raises what the store raises; after `OutcomeUnknown` it may
        have been counted, so that doing it again could count it twice.
        """
        whole("cost", cost, 0, ANY)
        if not decision.taken:
            return
        # Noted before the step, because a second settlement that runs meanwhile has to start from here.
        with _SETTLING:
            change, decision.cost = cost - decision.cost, cost
        if not change:
            return
        try:
            counted = await self._cells.transact(decision.key, Adjust(decision.taken, change))
        except BaseException:
            with _SETTLING:
                decision.cost -= change
            raise
        if LISTENERS:
            self._tell_use(decision, counted.usages, change)

    async def refund(self, decision: QuotaDecision) -> None:
        """Correct the cost of a request that has passed to 0. See `settle`."""
        await self.settle(decision, 0)

    async def reset(self, key: str) -> None:
        """Forget what the key has used."""
        await self._cells.delete(key)

    async def enter(self, key: str, /) -> QuotaDecision:
        """The decision; raises `RateLimited` when it is a refusal."""
        decision = await self._acquire(key, 1)
        if not decision.allowed:
            raise RateLimited(self.name, key, retry_after_s=decision.retry_after_s)
        return decision

    def leave(self, permit: QuotaDecision, outcome: Outcome, error: BaseException | None, /) -> None:
        """Nothing is held."""

    async def _acquire(self, key: str, cost: int) -> QuotaDecision:
        plan = self._plan_of(key)
        try:
            decision = await self._counted(key, plan, cost, look=False)
        except BackendError as error:
            return self._without_store(key, plan, cost, error)
        self._outage.is_on = False
        if LISTENERS:
            self._tell(decision)
        return decision

    def _plan_of(self, key: str) -> str:
        check_key(key)
        if self._plan is None:
            return ""
        plan = self._plan(key) if callable(self._plan) else self._plan.get(key, "")
        if plan not in self._plans:
            raise ValueError(f"plan must give one of {', '.join(map(repr, self._plans))}, got {plan!r} for key {key!r}")
        return plan

    async def _counted(self, key: str, plan: str, cost: int, *, look: bool) -> QuotaDecision:
        least = min(allowance.count for allowance in self._plans[plan])
        whole("cost", cost, 1, least, of="the smallest allowance")
        for _ in range(_TURNS_MAX):
            step = self._step(plan, cost, look=look)
            counted = await self._cells.transact(key, step)
            if counted.in_time:
                return _decision(key, plan, step, counted)
            self._periods = CurrentPeriods(self._plans, self._calendar, counted.now_us)
        raise BackendUnavailable(f"the clock of the store of Quota {self.name!r} jumps from period to period")

    def _step(self, plan: str, cost: int, *, look: bool) -> Use:
        # The periods that were right when the store was last asked. The store says whether they still are.
        periods = self._periods
        if periods is None:
            periods = self._periods = CurrentPeriods(self._plans, self._calendar, SYSTEM.now_us())
        common = periods.steps[plan]
        return common if cost == 1 and not look else Use(common.limits, cost, look=look)

    def _tell(self, decision: QuotaDecision) -> None:
        if decision.allowed:
            self._tell_use(decision, decision.taken, decision.cost)
            return
        tell(
            QuotaRefused(
                name=self.name, key=decision.key, plan=decision.plan,
                period=decision.binding.period, retry_after_s=decision.retry_after_s,
            )
        )  # fmt: skip

    def _tell_use(self, decision: QuotaDecision, usages: Sequence[Usage], change: int) -> None:
        used = {usage.kind: usage.used for usage in usages}
        for allowance, marks in self._marks[decision.plan]:
            now = used.get(PERIODS.index(allowance.period), 0)
            for share, mark in marks:
                if now - change < mark <= now:
                    tell(
                        QuotaReached(
                            name=self.name, key=decision.key, plan=decision.plan,
                            period=allowance.period, share=share, used=now, limit=allowance.count,
                        )
                    )  # fmt: skip

    def _without_store(self, key: str, plan: str, cost: int, error: BackendError) -> QuotaDecision:
        if self._outage.policy == "raise":
            raise error
        self._outage.met(error)
        if LISTENERS:
            tell(QuotaBypassed(name=self.name, key=key, policy=self._outage.policy, error=str(error)))
        step, now_us = self._step(plan, cost, look=True), SYSTEM.now_us()
        allowed = self._outage.policy == "allow"
        usages = tuple(Usage(limit.kind, limit.end_us, 0 if allowed else limit.most) for limit in step.limits)
        decision = _decision(key, plan, step, Counted(in_time=True, allowed=allowed, now_us=now_us, usages=usages))
        if not allowed:
            decision.retry_after_s = _OUTAGE_RETRY_S
        return decision


def _marks(allowance: Allowance, shares: Sequence[float]) -> list[tuple[float, int]]:
    """Each share of an allowance, and the use at which it is reached."""
    # As fractions of the decimals that you wrote, because 0.07 * 100 is more than 7.
    return [(share, math.ceil(Fraction(str(share)) * allowance.count)) for share in sorted(set(shares))]


def _decision(key: str, plan: str, step: Use, counted: Counted) -> QuotaDecision:
    standings = [
        Standing(
            PERIODS[limit.kind], limit.most, usage.used,
            (limit.end_us - limit.start_us) / 1e6, max(0, usage.end_us - counted.now_us) / 1e6,
        )
        for limit, usage in zip(step.limits, counted.usages, strict=True)
        if limit.most < ANY
    ]  # fmt: skip
    taken = counted.usages if counted.allowed and not step.look else ()
    return QuotaDecision(key, plan, step.cost, standings, allowed=counted.allowed, taken=taken)
