"""The public class of the limiter: it asks the cells, waits, and emits notices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.context import deadline_left_s
from sdpatterns.core.guard import KeyedGuard, Passage, StatefulGuard
from sdpatterns.core.keys import KeyOf, check_name
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.core.outage import OnOutage, Outage
from sdpatterns.core.outcome import Outcome
from sdpatterns.core.policy import AsyncCall
from sdpatterns.core.ranges import seconds
from sdpatterns.core.runtime import BLOCKING, Runtime, current, finish
from sdpatterns.core.tracing import TRACERS, Span, decided_in_span, in_span
from sdpatterns.errors import BackendError, RateLimited
from sdpatterns.ports.local import LocalCells
from sdpatterns.ports.states import KEYS_MAX, StateStore
from sdpatterns.traffic.ratelimit.algorithm import Algorithm, check_algorithm
from sdpatterns.traffic.ratelimit.algorithms import GCRA
from sdpatterns.traffic.ratelimit.answer import Decision, RateKey, decision_of
from sdpatterns.traffic.ratelimit.cells import LimiterCells
from sdpatterns.traffic.ratelimit.config import Rates
from sdpatterns.traffic.ratelimit.decision import Reservation, decide, pause_us
from sdpatterns.traffic.ratelimit.fastpath import GcraFastPath
from sdpatterns.traffic.ratelimit.notices import LimitBypassed, LimitReached

__all__ = ["RateLimiter"]

_OUTAGE_RETRY_US = 1_000_000
_WAIT_MAX_S = 60.0


class RateLimiter(StatefulGuard):
    """Limits how many requests each key may make per period, in one process or in all that share a store.

    `rates`: one `Rate`; several that must all hold; or rates by scope, and then a key is a mapping
    from scope to key and all scopes are decided in one atomic step. `algorithm`: how to count
    (`GCRA()`, a token bucket; `LeakyBucket()`, `FixedWindow()`, `SlidingLog()`, `SlidingCounter()`, or your own).
    `store`: where the counts live (None: in this process). `on_outage`: what to answer while the
    store is away (while it is full, `"allow"` lets this process count by itself). `group`: puts all
    keys on one node of a Redis Cluster, which scopes need; without
    it `atomic=False` asks scope by scope and gives back what a later one refuses. `keys_max`: how
    many keys a store in memory holds; beyond it new keys share one count (of their scope), with a
    notice.

    **Keeps**: in any time t a key passes at most `burst + t / interval` (GCRA, in whole
    microseconds of the store's clock; each other algorithm says what it keeps); a
    refused request uses nothing; a key is forgotten only when its state equals a fresh one; keys
    don't touch each other. Used without a key (`@limiter`, `limiter.guard()`, in a `Pipeline`) it counts
    all these calls together, under the empty key, in every process that shares the store. A limiter by
    scopes always needs its key.

    **May fail**: `acquire` never refuses by exception; if the store is away, `on_outage` decides,
    listeners get `LimitBypassed` each time, and the log gets one warning until the store is back.
    `ValueError` for a cost above the burst, because it could never pass.
    **Costs**: one step on the store for all rates and scopes; in memory about half a microsecond,
    under 120 bytes a key, and no checkpoint.

    ```python
    limiter = RateLimiter("api", per_second(100, burst=20))
    decision = await limiter.acquire("user:42")

    @limiter                                        # all calls together
    async def fetch(): ...

    @limiter.by(lambda order: order.customer)       # each customer alone
    async def place(order): ...
    ```
    """

    def __init__(
        self,
        name: str,
        rates: Rates,
        *,
        algorithm: Algorithm | None = None,
        store: StateStore | None = None,
        on_outage: OnOutage = "allow",
        group: str | None = None,
        atomic: bool = True,
        keys_max: int = KEYS_MAX,
    ) -> None:
        self.name = check_name("RateLimiter", name)
        self.needs_key = isinstance(rates, Mapping)
        self._outage = Outage(f"RateLimiter {name!r}", on_outage, store)
        algorithm = GCRA() if algorithm is None else algorithm
        check_algorithm(algorithm)
        self._algorithm = algorithm
        self._cells = LimiterCells(
            name, rates, store,
            algorithm=algorithm, group=group, atomic=atomic, keys_max=keys_max, counts_here=on_outage == "allow",
        )  # fmt: skip
        self._fast_path: GcraFastPath | None = None
        cells, limits = self._cells.cells, self._cells.limits
        single = len(limits) == 1 and not isinstance(rates, Mapping)
        if single and type(algorithm) is GCRA and isinstance(cells, LocalCells):
            self._fast_path = GcraFastPath(cells, limits[0])

    @property
    def runtime(self) -> Runtime | None:
        """The runtime that its store needs."""
        return self._cells.runtime

    @property
    def never_waits(self) -> bool:
        """Whether its store is in this process, or blocks."""
        return self._cells.runtime is None or self._cells.runtime is BLOCKING

    def describe(self) -> str:
        """Its rates."""
        how = ", ".join([*map(str, self._cells.limits), *self._cells.suffix])
        return f"RateLimiter {self.name!r} ({how})"

    def standing(self) -> str:
        """Where it counts."""
        return self._cells.where + (", which is away" if self._outage.is_on else "")

    async def acquire(self, key: RateKey, cost: int = 1) -> Decision:
        """Whether `cost` may pass for this key now. Never waits, never raises a refusal."""
        if TRACERS:
            return cast("Decision", await decided_in_span(self, self._acquire(key, cost)))
        if self._fast_path is not None:
            decision = self._fast_path.acquire(key, cost)
            if LISTENERS and not decision.allowed:
                self._tell_refusal(key, decision)
            return decision
        return await self._acquire(key, cost)

    def acquire_now(self, key: RateKey, cost: int = 1) -> Decision:
        """`acquire` without an await, where the store is in this process (TypeError elsewhere)."""
        if not self.never_waits:
            raise TypeError(f"the store of RateLimiter {self.name!r} is not in this process: await acquire(...)")
        return finish(self.acquire(key, cost))

    async def wait(self, key: RateKey, cost: int = 1, *, max_wait_s: float = _WAIT_MAX_S) -> Decision:
        """Reserve the next slot and wait for it: first come, first served, one sleep, no polling.

        Raises `RateLimited` at once, and reserves nothing, when the slot is further away than
        `max_wait_s` or than the deadline of the call. If you cancel a caller that waits, its slot is
        given back, unless another request came after it; then the slot passes unused. One that is
        cancelled before the store has answered waits for the answer, a second at most, to do that.
        With several scopes nothing is reserved, and neither is with several rates, except by an algorithm
        that `may_start_late` (GCRA): the limiter asks again when all of them should have room, and such
        callers have no order.
        """
        seconds("max_wait_s", max_wait_s, zero=True)
        left_s = deadline_left_s()
        bound_s = max_wait_s if left_s is None else max(0.0, min(max_wait_s, left_s))
        waited = self._wait(key, cost, bound_s)
        return cast("Decision", await decided_in_span(self, waited)) if TRACERS else await waited

    async def _wait(self, key: RateKey, cost: int, bound_s: float) -> Decision:
        try:
            if not self._reserves_ahead(key):
                return await self._wait_for_all(key, cost, SYSTEM.monotonic() + bound_s)
            made = await self._cells.book(key, cost, bound_s * 1e6)
        except BackendError as error:
            return self._passed(key, self._without_store(key, error))
        decision = self._decided(made)
        if not decision.allowed and LISTENERS:
            self._tell_refusal(key, decision)
        self._passed(key, decision)
        pause_s = pause_us(made) / 1e6
        if pause_s > 0:
            try:
                await current().sleep(pause_s)
            except BaseException:
                await self._cells.cancel(key, made)
                raise
        return decision

    async def _wait_for_all(self, key: RateKey, cost: int, until: float) -> Decision:
        # A slot reserved in one scope would start only when another scope has room, together with slots that
        # were reserved for later. So nothing is reserved ahead, and all scopes are asked again together.
        while True:
            decision = self._decided(await self._cells.book(key, cost))
            if decision.allowed:
                return decision
            if SYSTEM.monotonic() + decision.retry_after_s > until:
                if LISTENERS:
                    self._tell_refusal(key, decision)
                return self._passed(key, decision)
            await current().sleep(decision.retry_after_s)

    def _reserves_ahead(self, key: RateKey) -> bool:
        return not (isinstance(key, Mapping) and len(key) > 1) and (
            len(self._cells.limits) == 1 or self._algorithm.may_start_late
        )

    async def peek(self, key: RateKey, cost: int = 1) -> Decision:
        """What `acquire` would answer, using nothing. Raises what the store raises."""
        return decide(await self._cells.reserve(key, cost, look=True))

    async def reset(self, key: RateKey) -> None:
        """Forget what the key has used."""
        await self._cells.forget(key)

    def guard(self, key: RateKey = "", /) -> Passage:
        """`async with limiter.guard(key)`: raises `RateLimited` when refused."""
        return super().guard(cast("str", key))

    def by(self, key: RateKey | Callable[..., RateKey], /) -> KeyedGuard:
        """The limiter bound to a key, or to a function that gives it from a call's arguments."""
        if isinstance(key, Mapping):
            bound = cast("str", dict(key))
            return KeyedGuard(self, lambda *_args, **_kwargs: bound, fixed=bound)
        return KeyedGuard(self, cast("str", key))

    async def enter(self, key: RateKey, /) -> Decision:
        """The decision; raises `RateLimited` when it is a refusal."""
        return self._passed(key, await (self._acquire(key, 1) if TRACERS else self.acquire(key)))

    def leave(self, permit: Decision, outcome: Outcome, error: BaseException | None, /) -> None:
        """Nothing is held."""

    def wrap(self, call: AsyncCall, key: KeyOf | None = None, /) -> AsyncCall:
        """The call, for a key that has not used up its limit."""
        acquire, take, passed = self.acquire, self._acquire, self._passed

        async def limited(*args: Any, _span: Span | None = None, **kwargs: Any) -> Any:
            """One call, once its key has been admitted."""
            if TRACERS and _span is None:
                return await in_span(self, limited, args, kwargs)
            whom = "" if key is None else key(*args, **kwargs)
            decision = await (acquire(whom) if _span is None else take(whom, 1))
            if not decision.allowed:
                passed(whom, decision)
            return await call(*args, **kwargs)

        return limited

    async def _acquire(self, key: RateKey, cost: int) -> Decision:
        try:
            decision = self._decided(await self._cells.reserve(key, cost))
        except BackendError as error:
            return self._without_store(key, error)
        if not decision.allowed and LISTENERS:
            self._tell_refusal(key, decision)
        return decision

    def _decided(self, made: Sequence[Reservation]) -> Decision:
        """The decision on an answer of the store. Because it has answered, the next outage is a new one."""
        self._outage.is_on = False
        return decide(made)

    def _passed(self, key: RateKey, decision: Decision) -> Decision:
        if not decision.allowed:
            raise RateLimited(self.name, _label(key, decision.scope), retry_after_s=decision.retry_after_s)
        return decision

    def _tell_refusal(self, key: RateKey, decision: Decision) -> None:
        label = _label(key, decision.scope)
        tell(LimitReached(name=self.name, key=label, retry_after_s=decision.retry_after_s))

    def _without_store(self, key: RateKey, error: BackendError) -> Decision:
        if self._outage.policy == "raise":
            raise error
        self._outage.met(error)
        if LISTENERS:
            tell(LimitBypassed(name=self.name, key=_label(key, ""), policy=self._outage.policy, error=str(error)))
        limit, now_us = self._cells.limits[0], SYSTEM.now_us()
        if self._outage.policy == "allow":
            return decision_of(limit, self._algorithm.initial, now_us)
        # Shown as if all of it were used.
        most = self._algorithm.limit(limit.rate)
        used, _ = self._algorithm.advance(self._algorithm.initial, now_us, most, limit.params)
        return decision_of(limit, used, now_us, _OUTAGE_RETRY_US)


def _label(key: RateKey, scope: str) -> str:
    if isinstance(key, str):
        return key
    return f"{scope}:{key[scope]}" if scope else " ".join(f"{scope}:{key[scope]}" for scope in key)
