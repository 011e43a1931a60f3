"""The public face of everything that is held with a lease."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from sdpatterns.coordination.lease.config import LeaseConfig
from sdpatterns.coordination.lease.held import Held, Holding
from sdpatterns.coordination.lease.permits import Permits, Refusal
from sdpatterns.coordination.lease.several import HoldingAll
from sdpatterns.coordination.lease.waiting import next_caller
from sdpatterns.core.judging import plain
from sdpatterns.core.keys import KeyOf, check_name
from sdpatterns.core.policy import AsyncCall, Keyed, Policy, Trait
from sdpatterns.core.ranges import seconds
from sdpatterns.core.runtime import Runtime
from sdpatterns.core.tracing import TRACERS, decided_in_span
from sdpatterns.core.undivided import Undivided
from sdpatterns.ports.signals import SignalBus
from sdpatterns.ports.states import KEYS_MAX, StateStore, check_store, rely_on, where_of

__all__ = ["KeyedLease", "Lease", "LeaseAnswer", "LeasedGuard"]


class LeaseAnswer(NamedTuple):
    """The answer to one who asks: `permit` is what it holds, or None."""

    permit: Held | None
    retry_after_s: float = 0.0

    @property
    def allowed(self) -> bool:
        """Whether it is held."""
        return self.permit is not None


class LeasedGuard(Undivided, Policy):
    """What a lease, a semaphore and both sides of a read-write lease have in common: see each of them."""

    _elsewhere = "build it there, at import time, with the same store"
    traits: ClassVar[frozenset[Trait]] = frozenset({"holds_slot"})

    def __init__(self, permits: Permits, store: StateStore, each: int = 1) -> None:
        self.name = permits.name
        self.config = permits.config
        self._permits = permits
        self._store = store
        self._each = each

    @property
    def runtime(self) -> Runtime | None:
        return self._store.runtime

    def describe(self) -> str:
        """Its name, its lease, and how long a caller waits."""
        return (
            f"{type(self).__name__} {self.name!r} (lease {self.config.lease_s:g} s, wait {self.config.wait_max_s:g} s)"
        )

    def standing(self) -> str:
        """Where it is kept."""
        return where_of(self._store)

    async def acquire(self, key: str = "") -> LeaseAnswer:
        """Take it if it is free. Never waits for other holders and never raises a refusal.

        What is held is not renewed by itself: call `renew` in time, and `release` in the end.
        """
        taken = self._permits.take(key, self._each)
        if not TRACERS:
            return _answer(await taken)
        answer: LeaseAnswer = await decided_in_span(self, _answered(taken))
        return answer

    async def wait(self, key: str = "", *, max_wait_s: float = 60.0) -> Held:
        """Take it as soon as it is this caller's turn: first come, first served, woken and not polling.

        Raises `LeaseNotGranted` when that takes longer than `max_wait_s` or the deadline of the call, or too many wait.
        If you cancel a caller that waits, it leaves its place. What is held is not renewed by itself; where it follows
        another caller of this object, at least two thirds of the lease are left.
        """
        return await self._entered(key, seconds("max_wait_s", max_wait_s, zero=True))

    async def renew(self, held: Held) -> bool:
        """Let its lease last for `lease_s` from now; False where another caller holds it."""
        return await self._permits.renew(held)

    async def release(self, held: Held) -> bool:
        """Give it back, and hand it to the first that waits; False where it was not held any more.

        Never raises because of the store: at worst the key is free when the lease is over.
        """
        return await self._permits.release(held)

    def guard(self, key: str = "", /) -> Holding:
        """`async with` around work that needs it; gives the `Held` with its fence."""
        return Holding(self, lambda: self._entered(key, self.config.wait_max_s))

    def guard_all(self, *keys: str) -> HoldingAll:
        """`async with` around work that needs several keys at once: all of them or none, and never a deadlock."""
        return HoldingAll(
            lambda key, wait_s: Holding(self, lambda: self._entered(key, wait_s)), keys, self.config.wait_max_s
        )

    def by(self, key: str | Callable[..., str], /) -> KeyedLease:
        """The same guard bound to a key: a string, or a function of the call's arguments."""
        return KeyedLease(self, key)

    def wrap(self, call: AsyncCall, key: KeyOf | None = None, /) -> AsyncCall:
        """The call while it holds the key."""

        async def leased(*args: Any, **kwargs: Any) -> Any:
            """Take it, call, and give it back."""
            async with self.guard("" if key is None else key(*args, **kwargs)):
                return await call(*args, **kwargs)

        return leased

    async def _entered(self, key: str, max_wait_s: float) -> Held:
        taken = await self._permits.wait(key, max_wait_s, self._each)
        if isinstance(taken, Refusal):
            raise self._permits.refusal(key, taken)
        return taken


class KeyedLease(Keyed):
    """A lease with its key; where that is the same for every call it also gives `guard()`."""

    part: LeasedGuard

    def __init__(self, part: LeasedGuard, key: str | Callable[..., str]) -> None:
        super().__init__(part, key)
        self._fixed = key if isinstance(key, str) else None

    def guard(self) -> Holding:
        """`async with` around work that needs the key, if it is the same for every call."""
        if self._fixed is None:
            raise TypeError(f"the key of {self.name!r} depends on a call: use protect or guard(key)")
        return self.part.guard(self._fixed)


def permits_of(
    kind: str,
    name: str,
    store: StateStore,
    signals: SignalBus,
    config: LeaseConfig,
    *,
    slots: int,
    keys_max: int,
    callers: Callable[[], str],
    announces: bool = False,
    in_cohorts: bool = False,
) -> Permits:
    """The permits of a pattern of this kind, with its arguments checked."""
    check_name(kind, name)
    check_store(store)
    rely_on(store, f"{kind} {name!r}")
    if not callable(getattr(signals, "subscribe", None)):
        raise TypeError(f"signals must be a SignalBus, such as backend.signals; got {type(signals).__name__}")
    plain("callers", callers)
    return Permits(
        kind.lower(), name, store, signals, config,
        slots=slots, keys_max=keys_max, callers=callers, announces=announces, in_cohorts=in_cohorts,
    )  # fmt: skip


class Lease(LeasedGuard):
    """Lets one caller at a time work on a key, in all processes that share a store.

    ```
    caller 1   |== holds, renewed at each third ==|  release
    caller 2      waits in line ..................|== holds, with a larger fence ==|
    caller 3         waits in line ................................................|== ...
    ```

    Used without a key (`@lease`, `lease.guard()`) it is one lease for all callers, under the empty key.

    **Keeps**: by the store's clock at most one caller holds a key; its `fence` is larger than that of every earlier
    holder; those that wait get it in the order in which they came, and none that came later passes them; when a lease
    is lost the work is cancelled, where the runtime can interrupt it, and the caller gets `LeaseLost`. A process that
    is stopped can be the holder in its own eyes for longer than in those of the store. So a lease alone does not make
    a write safe: give the fence to the resource, and let it refuse an older one.

    **May fail** with `LeaseNotGranted` (held by others for too long, or too many wait), `LeaseLost`,
    `BackendUnavailable` (nothing runs), or `BackendFull` (`keys_max` reached).

    **Costs** one step on the store to take it and one to release it; at most four for each holder where callers wait,
    whatever their number; one for each third of a lease. One cell for each key that is held or waited for. Callers of
    one object that stand one behind the other hold under one lease, and no step lies between them.

    ```python
    payout = Lease("payout", store=backend.states, signals=backend.signals)

    async with payout.guard("seller-7") as held:
        await pay(seller, fence=held.fence)
    ```

    Source: Burrows, "The Chubby lock service" (2006); Kleppmann, "How to do distributed locking" (2016); Dice, Marathe,
    Shavit, "Lock cohorting" (2012).
    """

    def __init__(
        self,
        name: str,
        *,
        store: StateStore,
        signals: SignalBus,
        lease_s: float = 10.0,
        wait_max_s: float = 60.0,
        waiters_max: int = 1_000,
        keys_max: int = KEYS_MAX,
        callers: Callable[[], str] = next_caller,
    ) -> None:
        config = LeaseConfig(lease_s=lease_s, wait_max_s=wait_max_s, waiters_max=waiters_max)
        permits = permits_of(
            "Lease", name, store, signals, config, slots=1, keys_max=keys_max, callers=callers, in_cohorts=True
        )  # fmt: skip
        super().__init__(permits, store)


def _answer(taken: Held | Refusal) -> LeaseAnswer:
    return LeaseAnswer(None, taken.retry_after_s) if isinstance(taken, Refusal) else LeaseAnswer(taken)


async def _answered(taken: Any) -> LeaseAnswer:
    return _answer(await taken)
