"""Every judge is seen to find a bug that was planted for it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from sdpatterns.coordination.idempotency import Idempotency
from sdpatterns.coordination.idempotency import decision as records
from sdpatterns.core.heartbeat import Heartbeat
from sdpatterns.core.runtime import ASYNCIO
from sdpatterns.core.step import GONE, UNCHANGED
from sdpatterns.ports.engine.steps import Drop, PendingStep
from sdpatterns.ports.states import Cells
from sdpatterns.resilience.breaker import decision as circuits
from sdpatterns.resilience.breaker import guard
from sdpatterns.testing.simulation import World, simulate
from sdpatterns.testing.simulation import world as worlds
from sdpatterns.testing.simulation.algorithms import ORACLES, AlgorithmsWorld
from sdpatterns.testing.simulation.breaker import BreakerWorld
from sdpatterns.testing.simulation.idempotency import IdempotencyWorld
from sdpatterns.testing.simulation.limiter import LimiterWorld, Start, over_the_limit
from sdpatterns.testing.simulation.quota import QuotaWorld
from sdpatterns.traffic.quota import Quota, calendar
from sdpatterns.traffic.quota import decision as usages
from sdpatterns.traffic.ratelimit import Rate, RateLimiter
from sdpatterns.traffic.ratelimit import decision as steps


def complaints(world: World, wanted: str, *, seeds: int = 400) -> list[str]:
    """The first complaints about this in so many seeds."""
    for seed in range(seeds):
        found = [violation for violation in simulate(world, seed).violations if wanted in violation]
        if found:
            return found
    return []


class LocklessStates:
    """A store that reads, decides and writes with nothing to hold the three together."""

    def __init__(self, inner: Any) -> None:
        self.runtime = ASYNCIO
        self.inner = inner
        self.clock = inner.clock

    def cells(self, space: Any, /) -> Any:
        inner = self.inner.cells(space)

        async def run(step: PendingStep) -> Any:
            if step.reads or isinstance(step.transition, Drop):
                return await inner.run(step)
            states = await inner.read_many(step.keys)
            after, answer, keeps_s, _ = step.transition(states, worlds.SYSTEM.now_us())
            await asyncio.sleep(0.01)
            await inner.transact_many(step.keys, Write(after, keeps_s))
            return answer

        return Cells(space, run)


class Write:
    repeats = "harmless"
    script = None

    def __init__(self, states: Sequence[Any], keeps_s: Sequence[float]) -> None:
        self.states = states
        self.keeps_s = keeps_s

    def __call__(self, states: Any, now_us: int, /) -> Any:
        return (self.states, None, self.keeps_s, ())


@pytest.fixture
def no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = worlds.Run.store

    def store(self: Any, tell: Any, plan: Any, *, around: Callable[[Any], Any] = lambda inner: inner) -> Any:
        return usual(self, tell, plan, around=lambda inner: LocklessStates(around(inner)))

    monkeypatch.setattr(worlds.Run, "store", store)


def test_the_oracle_of_windows_counts_right() -> None:
    rate = Rate(2, 1.0, burst=3)
    assert over_the_limit([], rate) == ""
    assert over_the_limit([Start(0, 3), Start(500_000, 1), Start(1_500_000, 2)], rate) == ""
    assert "4 within" in over_the_limit([Start(0, 3), Start(499_999, 1)], rate)
    assert "4 within" in over_the_limit([Start(0, 1)] * 4, rate)


def test_a_store_without_a_lock_lets_too_many_through(no_lock: None) -> None:
    assert complaints(LimiterWorld(), "too many let through")


def test_a_store_without_a_lock_gives_two_claims(no_lock: None) -> None:
    assert complaints(IdempotencyWorld(), "was claimed twice")


def test_a_limiter_that_forgets_its_cells_lets_too_many_through(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = steps.Reserve.__call__

    def forgetful(self: Any, states: Any, now_us: float, /) -> Any:
        after, answer, keeps_s, wake = usual(self, states, now_us)
        return [one if one is UNCHANGED else GONE for one in after], answer, keeps_s, wake

    monkeypatch.setattr(steps.Reserve, "__call__", forgetful)
    assert complaints(LimiterWorld(), "too many let through")


def test_a_reservation_that_is_cancelled_twice_lets_too_many_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps.Cancel, "repeats", "harmless")
    assert complaints(LimiterWorld(), "too many let through", seeds=4000)


def test_a_limiter_that_lets_through_unasked_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from sdpatterns.testing.simulation import limiter as world

    def lenient(*args: Any, on_outage: str, **rest: Any) -> RateLimiter:
        return RateLimiter(*args, on_outage="allow", **rest)

    monkeypatch.setattr(world, "RateLimiter", lenient)
    assert complaints(LimiterWorld(), "with these steps in the store: []")


@pytest.mark.parametrize("algorithm", ORACLES, ids=lambda algorithm: algorithm.name)
def test_an_algorithm_that_counts_too_little_is_found(algorithm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = type(algorithm).advance

    def generous(self: Any, state: Any, now_us: int, cost: int, params: Any) -> Any:
        return usual(self, state, now_us, cost - 1, params)

    monkeypatch.setattr(type(algorithm), "advance", generous)
    assert complaints(AlgorithmsWorld(), "too many let through")


@pytest.mark.parametrize("algorithm", ORACLES, ids=lambda algorithm: algorithm.name)
def test_an_algorithm_that_refuses_for_a_second_too_long_is_found(
    algorithm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = type(algorithm).advance

    def slow(self: Any, state: Any, now_us: int, cost: int, params: Any) -> Any:
        after, start_us = usual(self, state, now_us, cost, params)
        return after, start_us + 1_000_000

    monkeypatch.setattr(type(algorithm), "advance", slow)
    assert complaints(AlgorithmsWorld(), "though there was room")


def test_a_store_without_a_lock_lets_too_many_through_of_every_algorithm(no_lock: None) -> None:
    assert complaints(AlgorithmsWorld(), "too many let through")


def test_a_quota_in_the_wrong_time_zone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendar, "_zone_of", lambda _: dt.UTC)
    assert complaints(QuotaWorld(), "was passed by")


def test_a_quota_that_counts_in_one_period_alone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = usages.Use.__call__

    def forgetful(self: Any, states: Any, now_us: int, /) -> Any:
        (after,), answer, keeps_s, wake = usual(self, states, now_us)
        return [after if after is UNCHANGED else after[:1]], answer, keeps_s, wake

    monkeypatch.setattr(usages.Use, "__call__", forgetful)
    assert complaints(QuotaWorld(), "was passed by")


def test_a_settlement_that_is_forgotten_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = usages.Adjust.__call__

    def forgetful(self: Any, states: Any, now_us: int, /) -> Any:
        return ([UNCHANGED], *usual(self, states, now_us)[1:])

    monkeypatch.setattr(usages.Adjust, "__call__", forgetful)
    assert complaints(QuotaWorld(), "was refused by")


def test_a_settlement_that_is_made_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = usages.Adjust.__call__

    def doubled(self: Any, states: Any, now_us: int, /) -> Any:
        after, *rest = usual(self, states, now_us)
        return (after if after[0] is UNCHANGED else usual(self, after, now_us)[0], *rest)

    monkeypatch.setattr(usages.Adjust, "__call__", doubled)
    assert complaints(QuotaWorld(), " by [")


def test_a_quota_without_a_lock_is_found(no_lock: None) -> None:
    assert complaints(QuotaWorld(), "was passed by")


def test_a_settle_without_its_fence_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_is_mine", lambda state, owner, fence: True)
    assert complaints(IdempotencyWorld(), "by an owner whose claim does not stand")


def test_a_claim_that_looks_at_no_lease_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = records.TakeClaim.__call__

    def greedy(self: Any, states: Any, now_us: int, /) -> Any:
        [state] = states
        mine = state is not None and state.owner != self.owner and state.status is records.ClaimStatus.CLAIMED
        return usual(self, [state._replace(until_us=now_us) if mine else state], now_us)

    monkeypatch.setattr(records.TakeClaim, "__call__", greedy)
    assert complaints(IdempotencyWorld(), "was claimed twice")


def test_a_fence_that_does_not_grow_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "next_fence", lambda last, now_us: max(last, now_us // 10_000_000))
    assert complaints(IdempotencyWorld(), "the fence of")


def test_an_answer_that_is_not_kept_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = records.Settle.__call__

    def forgetful(self: Any, states: Any, now_us: int, /) -> Any:
        after, answer, keeps_s, wake = usual(self, states, now_us)
        return [GONE] if answer else after, answer, keeps_s, wake

    monkeypatch.setattr(records.Settle, "__call__", forgetful)
    assert complaints(IdempotencyWorld(), "after its answer had been stored")


def test_a_holder_that_ignores_the_loss_of_its_claim_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def deaf(self: Any, stop: Any) -> None:
        await stop.wait(None)

    monkeypatch.setattr(Heartbeat, "_beat", deaf)
    assert complaints(IdempotencyWorld(), "two pieces of work on")


def test_a_late_success_that_closes_the_circuit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = circuits.Circuit.settle

    def generationless(self: Any, term: Any, verdict: int, now_s: float) -> Any:
        probes = self._probes
        if probes is not None and term is not probes:
            probes.began.appendleft(now_s)
            term = probes
        return usual(self, term, verdict, now_s)

    monkeypatch.setattr(circuits.Circuit, "settle", generationless)
    assert complaints(BreakerWorld(), "though the oracle is half_open")


def test_too_many_probes_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = circuits.Circuit.admit

    def generous(self: Any, now_s: float) -> Any:
        admission = usual(self, now_s)
        return circuits.Admission(self._probes) if admission.term is None and self._probes else admission

    monkeypatch.setattr(circuits.Circuit, "admit", generous)
    assert complaints(BreakerWorld(), "admitted, though the oracle is half_open")


def test_a_cancelled_probe_that_keeps_its_place_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuits.Circuit, "release", lambda self, term: None)
    assert complaints(BreakerWorld(), "refused, though the oracle is half_open")


async def cancelled(*_args: Any, **_kwargs: Any) -> Any:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("world", "pattern", "verb"),
    [
        (LimiterWorld(), RateLimiter, "wait"),
        (LimiterWorld(), RateLimiter, "acquire"),
        (QuotaWorld(), Quota, "acquire"),
        (IdempotencyWorld(), Idempotency, "call"),
    ],
    ids=["wait", "acquire", "quota", "call"],
)
def test_a_cancellation_without_a_request_is_found(
    world: World, pattern: type, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pattern, verb, cancelled)
    found = simulate(world, 1).violations
    assert [words for words in found if "no cancellation was requested" in words or "CancelledError" in words], found


def test_a_breaker_that_cancels_what_it_should_refuse_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "CircuitIsOpen", lambda *_args, **_kwargs: asyncio.CancelledError())
    assert complaints(BreakerWorld(), "no cancellation was requested")


def test_a_world_that_breaks_or_hangs_is_a_violation() -> None:
    class Broken:
        name = "broken"
        sometimes = ()

        async def play(self, run: Any) -> None:
            if run.seed == 0:
                raise ZeroDivisionError
            if run.seed == 1:
                await asyncio.get_running_loop().create_future()
            if run.seed == 2:
                while run.seed:  # noqa: ASYNC110 - the bug that is to be found
                    await asyncio.sleep(0)
            if run.seed == 3:
                await asyncio.sleep(1e9)
            if run.seed in {5, 6}:
                self.task = asyncio.ensure_future(goes_on() if run.seed == 5 else asyncio.sleep(1e9))
                await asyncio.sleep(1.0)

    async def goes_on() -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60.0)

    assert "ZeroDivisionError" in simulate(Broken(), 0).violations[0]
    assert "TimeoutError" in simulate(Broken(), 1).violations[0]
    assert "no time has passed" in simulate(Broken(), 2).violations[0]
    assert "TimeoutError" in simulate(Broken(), 3).violations[0]
    assert simulate(Broken(), 4).violations == ()
    assert "after they had been cancelled" in simulate(Broken(), 5).violations[0]
    assert simulate(Broken(), 6).violations == ()
