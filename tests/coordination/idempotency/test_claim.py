"""Leases, heartbeats, outages and cancellations, on a store that takes its time."""

from __future__ import annotations

import gc

import anyio
import anyio.lowlevel
import pytest

from sdpatterns import Idempotency, listen, with_deadline
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.coordination.idempotency import Claim, Replay, current_claim
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.notices import Notice
from sdpatterns.errors import BackendUnavailable, ClaimHeld, ClaimLost, OutcomeUnknown
from tests.coordination.idempotency.slow_store import Hook, SlowStates

pytestmark = pytest.mark.anyio

LEASE_S = 9.0


@pytest.fixture
def store(backend: MemoryBackend) -> SlowStates:
    return SlowStates(backend)


@pytest.fixture
def idem(store: SlowStates) -> Idempotency:
    return Idempotency("till", store=store, lease_s=LEASE_S)


def away(*names: str, until: float = float("inf")) -> Hook:
    async def hook(step: str) -> None:
        await anyio.lowlevel.checkpoint()
        if step in names and SYSTEM.monotonic() < until:
            raise BackendUnavailable("the store is away")

    return hook


def silent(*names: str) -> Hook:
    async def hook(step: str) -> None:
        await anyio.sleep(float("inf") if step in names else 0)

    return hook


async def claimed(idem: Idempotency, key: str = "k") -> Claim:
    claim = await idem.claim(key)
    assert isinstance(claim, Claim)
    return claim


class Work:
    """Notes how long it ran and how it ended."""

    def __init__(self, lasts_s: float) -> None:
        self.lasts_s = lasts_s
        self.ran_s = 0.0
        self.was_cancelled = False

    async def __call__(self) -> str:
        began = SYSTEM.monotonic()
        try:
            await anyio.sleep(self.lasts_s)
        except BaseException:
            self.was_cancelled = True
            raise
        finally:
            self.ran_s = SYSTEM.monotonic() - began
        return "paid"


async def test_short_work_costs_two_steps(idem: Idempotency, store: SlowStates) -> None:
    assert await idem.call("k", Work(2.9)) == "paid"
    assert store.steps == ["TakeClaim", "Settle"]


async def test_long_work_renews_every_third_of_a_lease(idem: Idempotency, store: SlowStates) -> None:
    assert await idem.call("k", Work(10.0)) == "paid"
    assert store.steps == ["TakeClaim", "Renew", "Renew", "Renew", "Settle"]


async def test_a_lease_is_counted_from_before_the_store_was_asked(idem: Idempotency, store: SlowStates) -> None:
    async def slow(_step: str) -> None:
        await anyio.sleep(2.0)

    store.after = slow
    assert (await claimed(idem)).lease_left_s == pytest.approx(LEASE_S - 2.0)


async def test_a_claim_that_came_too_late_is_asked_for_again(idem: Idempotency, store: SlowStates) -> None:
    late = iter([LEASE_S + 1.0, 0.0])

    async def slow(step: str) -> None:
        await anyio.sleep(next(late) if step == "TakeClaim" else 0)

    store.after = slow
    assert (await claimed(idem)).lease_left_s == pytest.approx(LEASE_S)
    assert store.steps == ["TakeClaim", "TakeClaim"]


async def test_a_store_slower_than_the_lease_starts_no_work(idem: Idempotency, store: SlowStates) -> None:
    async def slow(_step: str) -> None:
        await anyio.sleep(LEASE_S)

    store.after = slow
    work = Work(1.0)
    with pytest.raises(BackendUnavailable, match="longer to answer"):
        await idem.call("k", work)
    assert (work.ran_s, store.steps) == (0.0, ["TakeClaim"] * 3)


async def test_a_claim_that_came_late_is_renewed_at_once(idem: Idempotency, store: SlowStates) -> None:
    async def slow(step: str) -> None:
        await anyio.sleep(LEASE_S - 1.0 if step == "TakeClaim" else 0)

    store.after = slow
    assert await idem.call("k", Work(0.5)) == "paid"
    assert store.steps == ["TakeClaim", "Renew", "Settle"]


async def test_a_repeated_claim_counts_what_is_left_of_the_first(store: SlowStates) -> None:
    idem = Idempotency("till", store=store, lease_s=LEASE_S, owners=lambda: "one-and-the-same")
    first = await claimed(idem)
    await anyio.sleep(4.0)
    again = await claimed(idem)
    assert (again.fence, again.lease_left_s) == (first.fence, pytest.approx(LEASE_S - 4.0))


async def test_a_store_that_never_says_whether_it_stored_is_an_unknown_outcome(
    idem: Idempotency, store: SlowStates
) -> None:
    store.before = silent("Settle")
    began = SYSTEM.monotonic()
    with pytest.raises(OutcomeUnknown):
        await idem.call("k", Work(1.0))
    assert SYSTEM.monotonic() - began <= LEASE_S + 0.01


async def test_a_refused_renewal_stops_the_work(idem: Idempotency, store: SlowStates) -> None:
    work = Work(100.0)

    async def taken_away(step: str) -> None:
        await anyio.lowlevel.checkpoint()
        if step == "Renew":
            await idem.forget("k")

    store.before = taken_away
    with pytest.raises(ClaimLost):
        await idem.call("k", work)
    assert (work.was_cancelled, work.ran_s) == (True, pytest.approx(3.0))
    assert store.steps == ["TakeClaim", "Renew"], "what is lost is not released"


async def test_renewals_that_fail_are_tried_again(idem: Idempotency, store: SlowStates) -> None:
    store.before = away("Renew", until=SYSTEM.monotonic() + 8.0)
    work = Work(30.0)
    assert await idem.call("k", work) == "paid"
    assert not work.was_cancelled


@pytest.mark.parametrize("outage", [away("Renew", "Release"), silent("Renew")], ids=["fails", "never answers"])
async def test_work_stops_when_its_lease_is_over_by_its_own_clock(
    idem: Idempotency, store: SlowStates, outage: Hook
) -> None:
    store.before = outage
    work = Work(100.0)
    with pytest.raises(ClaimLost):
        await idem.call("k", work)
    assert (work.was_cancelled, work.ran_s) == (True, pytest.approx(LEASE_S, abs=0.01))


async def test_work_that_fails_while_a_renewal_hangs_fails_with_its_own_error(
    idem: Idempotency, store: SlowStates
) -> None:
    store.before = silent("Renew")
    mine = OSError("mine")

    async def fails() -> None:
        await anyio.sleep(4.0)
        raise mine

    with pytest.raises(OSError, match="mine") as caught:
        await idem.call("k", fails)
    assert caught.value is mine
    assert store.steps[-1] == "Release"


async def test_claim_lost_elsewhere_is_the_works_own_error(idem: Idempotency, store: SlowStates) -> None:
    async def loses_another() -> None:
        raise ClaimLost("another", "k")

    with pytest.raises(ClaimLost):
        await idem.call("k", loses_another)
    assert store.steps == ["TakeClaim", "Release"]


async def test_while_the_store_is_away_nothing_runs(idem: Idempotency, store: SlowStates) -> None:
    store.before = away("TakeClaim")
    work = Work(1.0)
    with pytest.raises(BackendUnavailable):
        await idem.call("k", work)
    assert work.ran_s == 0.0
    store.before = away()
    assert await idem.call("k", work) == "paid", "it recovers without a restart"


async def test_while_the_store_is_away_work_may_run_unprotected(store: SlowStates) -> None:
    idem = Idempotency("till", store=store, on_outage="allow")
    store.before = away("TakeClaim")
    seen: list[Notice] = []
    with listen(seen.append):
        assert await idem.call("k", Work(1.0)) == "paid"
    assert [notice.event for notice in seen] == ["claim_bypassed"]


async def test_the_first_call_that_an_outage_lets_through_is_logged_without_any_listener(
    store: SlowStates, caplog: pytest.LogCaptureFixture
) -> None:
    idem = Idempotency("till", store=store, lease_s=LEASE_S, on_outage="allow")
    keys = iter("abcdefgh")

    async def told(*steps: str) -> list[str]:
        caplog.clear()
        store.before = away(*steps)
        for _ in range(2):
            assert await idem.call(next(keys), Work(1.0)) == "paid"
        return [record.getMessage() for record in caplog.records if record.name == "sdpatterns"]

    warning = "Idempotency 'till' goes on without its store, on_outage='allow': the store is away"
    assert await told() == []
    assert await told("TakeClaim") == [warning]
    assert await told("TakeClaim") == []
    assert await told() == []


async def test_an_answer_that_an_outage_leaves_unstored_is_logged_too(
    store: SlowStates, caplog: pytest.LogCaptureFixture
) -> None:
    idem = Idempotency("till", store=store, lease_s=LEASE_S, on_outage="allow")
    store.before = away("Settle")
    assert await idem.call("k", Work(1.0)) == "paid"
    [record] = [record for record in caplog.records if record.name == "sdpatterns"]
    assert record.getMessage().startswith("Idempotency 'till' goes on without its store, on_outage='allow'")


async def test_an_answer_waits_for_a_store_that_comes_back(idem: Idempotency, store: SlowStates) -> None:
    store.before = away("Settle", until=SYSTEM.monotonic() + 5.0)
    assert await idem.call("k", Work(1.0)) == "paid"
    assert isinstance(await idem.claim("k2"), Claim)
    assert await idem.call("k", Work(1.0)) == "paid"
    assert store.steps.count("TakeClaim") == 3


@pytest.mark.parametrize("on_outage", ["refuse", "allow"])
async def test_an_answer_that_could_not_be_stored_in_time_is_reported(store: SlowStates, on_outage: str) -> None:
    idem = Idempotency("till", store=store, lease_s=LEASE_S, on_outage=on_outage)  # type: ignore[arg-type]
    store.before = away("Settle")
    seen: list[Notice] = []
    began = SYSTEM.monotonic()
    with listen(seen.append):
        if on_outage == "allow":
            assert await idem.call("k", Work(1.0)) == "paid"
        else:
            with pytest.raises(OutcomeUnknown, match="did the work"):
                await idem.call("k", Work(1.0))
    assert SYSTEM.monotonic() - began <= LEASE_S
    assert [notice.event for notice in seen] == ["claim_taken", "answer_not_stored"]


async def test_an_answer_is_not_waited_for_beyond_the_deadline(idem: Idempotency, store: SlowStates) -> None:
    store.before = away("Settle")
    began = SYSTEM.monotonic()
    with with_deadline(3.0), pytest.raises(OutcomeUnknown):
        await idem.call("k", Work(1.0))
    assert SYSTEM.monotonic() - began <= 3.0


async def test_a_claim_cancelled_on_its_way_is_taken_back(idem: Idempotency, store: SlowStates) -> None:
    store.after = silent("TakeClaim")
    with anyio.move_on_after(1.0):
        await idem.claim("k")
    store.after = away()
    assert store.steps == ["TakeClaim", "Release"]
    assert isinstance(await idem.claim("k"), Claim), "nobody holds it"


async def test_a_cancellation_does_not_come_between_work_and_answer(idem: Idempotency, store: SlowStates) -> None:
    async def slow(step: str) -> None:
        await anyio.sleep(2.0 if step == "Settle" else 0)

    store.before = slow
    finished = False
    with anyio.move_on_after(2.0):
        await idem.call("k", Work(1.0))
        finished = True
    assert not finished, "the caller was cancelled"
    assert await idem.call("k", Work(1.0)) == "paid"
    assert store.steps == ["TakeClaim", "Settle", "TakeClaim"], "and yet the answer is there"


async def test_cancelled_work_gives_its_claim_back_before_it_is_gone(idem: Idempotency, store: SlowStates) -> None:
    async def slow(step: str) -> None:
        await anyio.sleep(1.0 if step == "Release" else 0)

    store.before = slow
    with anyio.move_on_after(2.0):
        await idem.call("k", Work(20.0))
    assert isinstance(await idem.claim("k"), Claim)


@pytest.mark.parametrize("outage", [away("Release"), silent("Release")], ids=["fails", "never answers"])
async def test_a_release_that_fails_leaves_the_key_to_the_lease(
    idem: Idempotency, store: SlowStates, outage: Hook
) -> None:
    store.before = outage
    seen: list[Notice] = []

    async def fails() -> None:
        raise OSError("mine")

    with listen(seen.append), pytest.raises(OSError, match="mine"):
        await idem.call("k", fails)
    assert seen[-1].event == "claim_left"
    with pytest.raises(ClaimHeld):
        await idem.call("k", fails)
    await anyio.sleep(LEASE_S)
    assert isinstance(await idem.claim("k"), Claim)


class View:
    """The caller's transaction: what is written shows when it commits."""

    def __init__(self, store: SlowStates) -> None:
        self.states = store


async def test_an_answer_stored_in_the_callers_transaction_stops_the_heartbeat_first(
    idem: Idempotency, store: SlowStates
) -> None:
    async def pays() -> str:
        await anyio.sleep(4.0)
        await current_claim().store("stored", within=View(store))
        await anyio.sleep(30.0)  # the commit takes its time; a heartbeat would wait for the row
        return "returned"

    assert await idem.call("k", pays) == "returned"
    assert store.steps == ["TakeClaim", "Renew", "Settle"]
    assert (await idem.call("k", pays)) == "stored"


async def test_a_renewal_under_way_does_not_take_a_settled_claim_for_a_lost_one(
    idem: Idempotency, store: SlowStates
) -> None:
    async def slow(step: str) -> None:
        await anyio.sleep(2.0 if step == "Renew" else 0)  # as one that waits for the caller's row

    store.before = slow

    async def pays() -> str:
        await anyio.sleep(3.5)
        await current_claim().store("stored", within=View(store))
        await anyio.sleep(10.0)
        return "returned"

    assert await idem.call("k", pays) == "returned"
    assert store.steps == ["TakeClaim", "Renew", "Settle"]


async def test_a_renewed_lease_is_counted_from_before_the_renewal_was_sent(
    idem: Idempotency, store: SlowStates
) -> None:
    renewals = 0

    async def one_slow_then_away(step: str) -> None:
        nonlocal renewals
        if step == "Renew":
            renewals += 1
            await anyio.sleep(2.0)
            if renewals > 1:
                raise BackendUnavailable("the store is away")

    store.before = one_slow_then_away
    work = Work(100.0)
    with pytest.raises(ClaimLost):
        await idem.call("k", work)
    assert work.ran_s == pytest.approx(3.0 + LEASE_S, abs=0.01)


async def test_a_replay_of_a_claim_carries_the_fence_of_the_answer(idem: Idempotency) -> None:
    claim = await claimed(idem)
    await claim.store(["a", 1, None, b"bytes"])
    assert await idem.claim("k") == Replay(["a", 1, None, b"bytes"], claim.fence)


async def test_a_claim_whose_work_has_ended_is_freed_at_once(idem: Idempotency) -> None:
    @idem.by(lambda key: key)
    async def work(key: str) -> str:
        return key

    await work("before")
    gc.collect()
    gc.disable()
    try:
        assert await work("k") == "k"
        assert [each for each in gc.get_objects() if type(each) is Claim] == []
    finally:
        gc.enable()
