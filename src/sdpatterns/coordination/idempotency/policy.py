"""Do it once: the second caller with the same key gets the first one's answer."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, ParamSpec, TypeVar

from sdpatterns.coordination.idempotency.claim import Claim, ClaimTable, Key, Replay, shown, within_deadline_s
from sdpatterns.coordination.idempotency.config import IdempotencyConfig, OnBusy, OnOutage
from sdpatterns.coordination.idempotency.decision import ClaimResult, ClaimStatus, Release, TakeClaim
from sdpatterns.coordination.idempotency.doubtful import DoubtfulClaims
from sdpatterns.coordination.idempotency.fingerprint import fingerprint as digest_of
from sdpatterns.coordination.idempotency.fingerprint import of_call
from sdpatterns.coordination.idempotency.notices import AnswerReplayed, ClaimBypassed, ClaimRefused, ClaimTaken
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.codec import Codec
from sdpatterns.core.error_codec import ErrorCodec, StoredErrors
from sdpatterns.core.judging import at_once, plain
from sdpatterns.core.keys import KeyOf, check_name, join_key, short_key
from sdpatterns.core.notices import LISTENERS, tell
from sdpatterns.core.policy import AsyncCall, Policy, Trait, awaitable_call, check_keyed
from sdpatterns.core.runtime import Runtime, current
from sdpatterns.core.tracing import TRACERS, Span, in_span, opened_by
from sdpatterns.core.undivided import Undivided
from sdpatterns.core.value_codec import ValueCodec
from sdpatterns.errors import (
    AnswerNotKept,
    BackendError,
    BackendFull,
    BackendUnavailable,
    ClaimHeld,
    KeyReused,
    OutcomeUnknown,
    SdpatternsError,
)
from sdpatterns.ports.signals import SignalBus, Subscription
from sdpatterns.ports.states import KEYS_MAX, StateStore, check_store, rely_on

__all__ = ["Idempotency"]

P = ParamSpec("P")
R = TypeVar("R")

_ASK_AGAIN_S = 1.0
_SWEEP_S = 1.0
_LOOK_FIRST_S = 0.02
_RELEASE_MAX_S = 5.0
_PAUSE_MIN_S = 0.001
_ASKS_MAX = 3


def _random_owner() -> str:
    return os.urandom(16).hex()


class Idempotency(Undivided, Policy):
    """Runs the work of one key once and gives every later caller the same answer.

    ```
    first caller:   claim --> work (heartbeat beside it) --> store the answer
    second caller:  refused or waiting ---------------------> the same answer
    ```

    **Keeps**: of all callers with one key, one at a time works, and none after one has stored its
    answer; a late owner, overtaken because its lease ran out, never overwrites what a newer one
    stored; one key with two different requests is refused. Work that fails stores nothing: the
    next caller runs it again. While it works a process may die: another takes over when the lease
    is over, so what the work does outside the store may happen again, as with any lease. A replay equals
    the first answer, type by type.

    **May fail** with `ClaimHeld` (in flight), `KeyReused` (another request), `ClaimLost` (overtaken),
    `AnswerNotKept` (carried out, but its answer cannot be written or is over `answer_bytes_max`),
    `BackendUnavailable` or `OutcomeUnknown` (the store), `BackendFull` (`keys_max` reached).

    **Costs** one step on the store to claim and one to store; a replay costs one. One cell per key
    for `keep_s`.

    `codec` turns answers into bytes; the default takes None, booleans, numbers, strings, bytes, `Decimal`,
    `UUID`, dates and times, and lists, tuples, sets and dicts of them. `store_errors` lists exceptions that are
    answers too. `scope` gives the tenant of the running call; keys of two scopes never meet.
    `signals` wakes waiting callers; without it they look again, ever more slowly.

    Source: draft-ietf-httpapi-idempotency-key-header.
    """

    _elsewhere = "build it there, at import time, with the same store"
    needs_key = True
    traits: ClassVar[frozenset[Trait]] = frozenset({"absorbs_repeats"})

    def __init__(
        self,
        name: str,
        *,
        store: StateStore,
        lease_s: float = 30.0,
        keep_s: float = 86_400.0,
        codec: Codec[Any] | None = None,
        fingerprint: Callable[..., object] | None = None,
        scope: Callable[[], str] | None = None,
        store_errors: StoredErrors = (),
        on_busy: OnBusy = "refuse",
        wait_max_s: float = 30.0,
        signals: SignalBus | None = None,
        on_outage: OnOutage = "refuse",
        answer_bytes_max: int = 1_048_576,
        keys_max: int = KEYS_MAX,
        owners: Callable[[], str] = _random_owner,
    ) -> None:
        self.name = check_name("Idempotency", name)
        self.config = IdempotencyConfig(
            lease_s=lease_s, keep_s=keep_s, on_busy=on_busy, wait_max_s=wait_max_s,
            on_outage=on_outage, answer_bytes_max=answer_bytes_max,
        )  # fmt: skip
        check_store(store)
        rely_on(store, f"Idempotency {name!r}")
        self._store = store
        self._signals = signals
        for field, function in (("fingerprint", fingerprint), ("scope", scope), ("owners", owners)):
            if function is not None:
                plain(field, function)
        self._scope = scope
        self._fingerprint = fingerprint
        self._owners = owners
        codec = ValueCodec() if codec is None else codec
        self._table = ClaimTable(name, store, self.config, codec, ErrorCodec(store_errors), keys_max)
        self._doubtful = DoubtfulClaims(self._table.cells, self._table.topic, lease_s)

    @property
    def runtime(self) -> Runtime | None:
        return self._store.runtime

    def describe(self) -> str:
        """Its name, its lease, and what a second caller meets."""
        return f"Idempotency {self.name!r} (lease {self.config.lease_s:g} s, {self.config.on_busy} when busy)"

    async def claim(self, key: Key, request: object = None) -> Claim | Replay:
        """Take the key for `request`, or learn the answer it has got before.

        `request` is what makes two requests the same: plain values, of which a digest is kept. With a
        `Claim`, run the work under `claim.run(function)`, or call `claim.store(answer)` or
        `claim.release()`.
        """
        fingerprint = digest_of(request)
        if not TRACERS:
            return await self._claim(key, fingerprint)
        with opened_by(self, self.name) as span:
            return await self._claim(key, fingerprint, span)

    async def call(  # type: ignore[override] # a keyed policy has no bare call: the key comes first
        self, key: Key, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run one call under this key, or give the answer of the one that ran."""
        work = awaitable_call(function)
        fingerprint = self._fingerprint_of(function)(*args, **kwargs)
        bound = functools.partial(work, *args, **kwargs)
        if not TRACERS:
            return await self._once(key, fingerprint, bound)
        with opened_by(self, self.name) as span:
            return await self._once(key, fingerprint, bound, span)

    def wrap(self, call: AsyncCall, key: KeyOf | None = None, /) -> AsyncCall:
        """The call, run once per key."""
        check_keyed(self, key)
        assert key is not None
        fingerprint_of = self._fingerprint_of(call)

        async def once(*args: Any, _span: Span | None = None, **kwargs: Any) -> Any:
            """One call, with its key and its fingerprint taken from its arguments."""
            if TRACERS and _span is None:
                return await in_span(self, once, args, kwargs)
            fingerprint = fingerprint_of(*args, **kwargs)
            return await self._once(key(*args, **kwargs), fingerprint, functools.partial(call, *args, **kwargs), _span)

        return once

    def bypasses(self, key: Key, error: BackendError) -> bool:
        """Whether the work must run although its claim failed in this way; that is logged, and emits a notice.

        `call` and `protect` ask it themselves; if you use `claim`, you may ask it.
        """
        # A full store is no outage, because a client that sends many keys could then switch the protection off.
        if self.config.on_outage == "refuse" or isinstance(error, BackendFull):
            return False
        self._table.outage.met(error)
        if LISTENERS:
            tell(ClaimBypassed(name=self.name, key=shown(key), error=str(error)))
        return True

    async def forget(self, key: Key) -> None:
        """Drop what is known of the key: the next caller runs. For operators, not for programs."""
        await self._table.cells.delete(self._cell(key))

    def _fingerprint_of(self, function: Callable[..., Any]) -> Callable[..., str]:
        chosen = self._fingerprint
        if chosen is None:
            return of_call(function)
        return lambda *args, **kwargs: digest_of(at_once("fingerprint", chosen, chosen(*args, **kwargs)))

    def _cell(self, key: Key) -> str:
        parts = (key,) if isinstance(key, str) else key
        if not _are_text(parts):
            raise TypeError(f"an idempotency key is a string or a tuple of strings, got {key!r}")
        # An empty key would be one key for all callers that have none: all would get the first answer.
        if not any(parts):
            raise ValueError("an idempotency key has at least one character")
        if self._scope is None:
            return short_key(join_key(*parts))
        scope: object = at_once("scope", self._scope, self._scope())
        if not isinstance(scope, str):
            raise TypeError(f"scope must give a string, got {scope!r}")
        return short_key(join_key(scope, *parts))

    async def _once(self, key: Key, fingerprint: str, work: Callable[[], Awaitable[R]], span: Span | None = None) -> R:
        try:
            taken = await self._claim(key, fingerprint, span)
        except BackendError as error:
            if not self.bypasses(key, error):
                raise
            return await work()
        if isinstance(taken, Replay):
            result: R = taken.result()
            return result
        return await taken.run(work)

    async def _claim(self, key: Key, fingerprint: str, span: Span | None = None) -> Claim | Replay:
        cell = self._cell(key)
        taken = await self._try(key, cell, fingerprint)
        if isinstance(taken, ClaimResult) and self.config.on_busy == "wait":
            taken = await self._wait(key, cell, fingerprint)
        if isinstance(taken, ClaimResult):
            self._refused(key, "held")
            raise ClaimHeld(self.name, shown(key), retry_after_s=min(_ASK_AGAIN_S, taken.left_us / 1e6))
        if span is not None:
            span.note("sdpatterns.replayed", isinstance(taken, Replay))
        return taken

    async def _try(self, key: Key, cell: str, fingerprint: str) -> Claim | Replay | ClaimResult:
        """A claim, an answer, or the finding that another caller is at work."""
        owner = at_once("owners", self._owners, self._owners())
        for _ in range(_ASKS_MAX):
            # The lease counts from before the request was sent, because the store may have begun it at any time since.
            sent = SYSTEM.monotonic()
            found = await self._found(cell, TakeClaim(owner, fingerprint, self._table.lease_us))
            until = sent + (found.left_us - self._table.skew_us) / 1e6
            # An answer that took longer than the lease gives nothing: another caller may be at work.
            if found.status is not ClaimStatus.CLAIMED or until > SYSTEM.monotonic():
                break
        else:
            raise BackendUnavailable(f"the store took longer to answer than the lease of {self.name!r} lasts")
        if found.status is ClaimStatus.CLAIMED:
            if LISTENERS:
                tell(ClaimTaken(name=self.name, key=shown(key), fence=found.fence))
            return Claim(self._table, key, cell, owner, found.fence, until)
        if found.status is ClaimStatus.REUSED:
            self._refused(key, "reused")
            raise KeyReused(self.name, shown(key))
        if found.status is ClaimStatus.SPENT:
            self._refused(key, "spent")
            raise AnswerNotKept(self.name, shown(key))
        return found if found.status is ClaimStatus.BUSY else self._replay(key, found)

    async def _found(self, cell: str, step: TakeClaim) -> ClaimResult:
        try:
            found = await self._table.cells.transact(cell, step)
        except OutcomeUnknown:
            # The claim may have been made, and its owner will never learn of it.
            self._doubtful.add(cell, step.owner)
            raise
        except Exception:
            # The store said that it made no claim. Below is what ends the caller itself, such as a cancellation.
            raise
        except BaseException:
            await self._take_back(cell, step.owner)
            raise
        self._table.outage.is_on = False
        return found

    async def _take_back(self, cell: str, owner: str) -> None:
        # The caller was cancelled while the request was on its way, so the claim may have been made. Without
        # this the key would stay busy until the lease ends.
        step = Release(owner, 0, self._table.topic(cell))
        is_answered = False

        async def release() -> None:
            nonlocal is_answered
            await self._table.cells.transact(cell, step)
            is_answered = True

        try:
            await current().shield(release, at_most_s=_RELEASE_MAX_S)
        except (SdpatternsError, TimeoutError):
            return
        finally:
            # Not in the handler: another cancellation may have come in place of the store's error.
            if not is_answered:
                self._doubtful.add(cell, owner)

    async def _wait(self, key: Key, cell: str, fingerprint: str) -> Claim | Replay | ClaimResult:
        """Subscribe, look, wait for a signal, and look again after a while, because a signal may be lost."""
        deadline = SYSTEM.monotonic() + within_deadline_s(self.config.wait_max_s)
        taken: Claim | Replay | ClaimResult | None = None
        try:
            async with contextlib.AsyncExitStack() as stack:
                subscription = await self._subscribed(stack, cell)
                taken = await self._look(subscription, deadline, key, cell, fingerprint)
        except BackendError:
            if taken is None:
                raise
        except BaseException:
            # Cancelled while the subscription closed: the caller never gets the claim, so it is released here.
            if isinstance(taken, Claim):
                await taken.release()
            raise
        return taken

    async def _subscribed(self, stack: contextlib.AsyncExitStack, cell: str) -> Subscription | None:
        if self._signals is None:
            return None
        try:
            return await stack.enter_async_context(self._signals.subscribe(self._table.topic(cell)))
        except BackendError:
            # A signal is only a hint: without it the caller looks again after a while.
            return None

    async def _look(
        self, subscription: Subscription | None, deadline: float, key: Key, cell: str, fingerprint: str
    ) -> Claim | Replay | ClaimResult:
        pause_s = _LOOK_FIRST_S if subscription is None else _SWEEP_S
        while True:
            taken = await self._try(key, cell, fingerprint)
            left_s = deadline - SYSTEM.monotonic()
            if not isinstance(taken, ClaimResult) or left_s <= 0:
                return taken
            within_s = _pause_s(left_s, taken, pause_s)
            await (current().sleep(within_s) if subscription is None else subscription.wait(within_s))
            pause_s = min(1.5 * pause_s, _SWEEP_S)

    def _replay(self, key: Key, found: ClaimResult) -> Replay:
        if LISTENERS:
            tell(AnswerReplayed(name=self.name, key=shown(key), fence=found.fence))
        if found.status is ClaimStatus.FAILED:
            return Replay(None, found.fence, self._table.errors.decode(found.answer))
        return Replay(self._table.codec.decode(found.answer), found.fence)

    def _refused(self, key: Key, why: str) -> None:
        if LISTENERS:
            tell(ClaimRefused(name=self.name, key=shown(key), why=why))


def _pause_s(left_s: float, busy: ClaimResult, at_most_s: float) -> float:
    """Until the caller gives up, the other's lease is over, or it is time to look again."""
    return max(_PAUSE_MIN_S, min(left_s, busy.left_us / 1e6, at_most_s))


def _are_text(parts: object) -> bool:
    if not isinstance(parts, (tuple, list)):
        return False
    for part in parts:  # noqa: SIM110 - a generator costs three times the loop
        if not isinstance(part, str):
            return False
    return True
