"""What two callers with one key meet, in memory, under asyncio and trio, in virtual time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from sdpatterns import Idempotency, listen, with_deadline
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.coordination.idempotency import Claim, Replay, current_claim
from sdpatterns.coordination.idempotency.config import OnOutage
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.notices import Notice
from sdpatterns.errors import AnswerNotKept, BackendFull, ClaimHeld, ClaimLost, CodecError, KeyReused
from sdpatterns.ports.timekeeping import Skewed

pytestmark = pytest.mark.anyio


class Declined(Exception):
    def __init__(self, reason: str, *, code: int) -> None:
        super().__init__(reason)
        self.code = code


class Till:
    """Work that takes a second and counts how often it ran."""

    def __init__(self, lasts_s: float = 1.0) -> None:
        self.runs: Counter[str] = Counter()
        self.now = 0
        self.now_max = 0
        self.lasts_s = lasts_s

    async def pay(self, order: str) -> dict[str, Any]:
        self.now += 1
        self.now_max = max(self.now_max, self.now)
        try:
            self.runs[order] += 1
            await anyio.sleep(self.lasts_s)
            return {"order": order, "run": self.runs[order]}
        finally:
            self.now -= 1


async def together(calls: list[Callable[[], Awaitable[Any]]]) -> list[Any]:
    """The result or the exception of each, all started at once."""
    results: list[Any] = [None] * len(calls)

    async def one(place: int, call: Callable[[], Awaitable[Any]]) -> None:
        try:
            results[place] = await call()
        except Exception as error:  # noqa: BLE001 - each call's own end is what is looked at
            results[place] = error

    async with anyio.create_task_group() as group:
        for place, call in enumerate(calls):
            group.start_soon(one, place, call)
    return results


async def test_a_second_call_gets_the_first_answer(backend: MemoryBackend) -> None:
    till, idem = Till(), Idempotency("till", store=backend.states)
    first = await idem.call("k", till.pay, "o1")
    assert await idem.call("k", till.pay, "o1") == first == {"order": "o1", "run": 1}
    assert till.runs == {"o1": 1}


async def test_fifty_at_once_run_one_and_refuse_the_rest(backend: MemoryBackend) -> None:
    till, idem = Till(), Idempotency("till", store=backend.states)
    results = await together([lambda: idem.call("k", till.pay, "o1")] * 50)
    answers = [result for result in results if isinstance(result, dict)]
    refusals = [result for result in results if isinstance(result, ClaimHeld)]
    assert (len(answers), len(refusals), till.runs["o1"]) == (1, 49, 1)
    assert refusals[0].retry_after_s == 1.0


@pytest.mark.parametrize("signals", [True, False])
async def test_fifty_at_once_wait_for_the_one_that_runs(backend: MemoryBackend, signals: bool) -> None:
    bus = backend.signals if signals else None
    till, idem = Till(), Idempotency("till", store=backend.states, on_busy="wait", signals=bus)
    began = SYSTEM.monotonic()
    results = await together([lambda: idem.call("k", till.pay, "o1")] * 50)
    assert results == [{"order": "o1", "run": 1}] * 50
    took_s = SYSTEM.monotonic() - began
    assert 1.0 <= took_s < (1.01 if signals else 1.6)


async def test_one_who_waits_gives_up_in_time(backend: MemoryBackend) -> None:
    till = Till(lasts_s=20.0)
    idem = Idempotency("till", store=backend.states, on_busy="wait", wait_max_s=3.0, signals=backend.signals)
    began = SYSTEM.monotonic()
    ended: list[float] = []

    async def late() -> Any:
        try:
            return await idem.call("k", till.pay, "o1")
        finally:
            ended.append(SYSTEM.monotonic() - began)

    results = await together([late] * 2)
    assert {type(result) for result in results} == {dict, ClaimHeld}
    assert ended[0] == pytest.approx(3.0, abs=0.01)


async def test_one_who_waits_stops_at_the_deadline_that_he_brought(backend: MemoryBackend) -> None:
    till = Till(lasts_s=20.0)
    idem = Idempotency("till", store=backend.states, on_busy="wait", signals=backend.signals)
    took: list[float] = []

    async def hurried() -> None:
        await anyio.sleep(0.5)
        began = SYSTEM.monotonic()
        with with_deadline(2.0), pytest.raises(ClaimHeld):
            await idem.call("k", till.pay, "o1")
        took.append(SYSTEM.monotonic() - began)

    await together([lambda: idem.call("k", till.pay, "o1"), hurried])
    assert took == [pytest.approx(2.0, abs=0.01)]


async def test_work_that_fails_runs_again(backend: MemoryBackend) -> None:
    idem = Idempotency("till", store=backend.states)
    failure = OSError("reset")
    runs = iter([failure, None])

    async def flaky() -> str:
        error = next(runs)
        if error is not None:
            raise error
        return "paid"

    with pytest.raises(OSError, match="reset") as caught:
        await idem.call("k", flaky)
    assert caught.value is failure, "the caller's own exception arrives bare"
    assert await idem.call("k", flaky) == "paid"
    assert await idem.call("k", flaky) == "paid"


async def test_those_who_wait_take_over_after_a_failure(backend: MemoryBackend) -> None:
    idem = Idempotency("till", store=backend.states, on_busy="wait", signals=backend.signals)
    runs = 0

    async def fails_twice() -> str:
        nonlocal runs
        runs += 1
        await anyio.sleep(1.0)
        if runs <= 2:
            raise OSError(f"run {runs}")
        return "paid"

    results = await together([lambda: idem.call("k", fails_twice)] * 10)
    assert sorted(map(str, results)) == ["paid"] * 8 + ["run 1", "run 2"]
    assert runs == 3


async def test_a_declared_error_is_an_answer(backend: MemoryBackend) -> None:
    idem = Idempotency("till", store=backend.states, store_errors=[Declined])
    runs = 0

    async def declines() -> None:
        nonlocal runs
        runs += 1
        raise Declined("no funds", code=51)

    for _ in range(3):
        with pytest.raises(Declined, match="no funds") as caught:
            await idem.call("k", declines)
        assert (caught.value.code, caught.value.args) == (51, ("no funds",))
    assert runs == 1


async def test_an_error_that_cannot_be_written_was_carried_out_all_the_same(backend: MemoryBackend) -> None:
    idem = Idempotency("till", store=backend.states, store_errors=Declined)
    seen: list[Notice] = []
    runs = 0

    async def declines() -> None:
        nonlocal runs
        runs += 1
        raise Declined("no funds", code=object())  # type: ignore[arg-type]

    with listen(seen.append):
        for error in (Declined, AnswerNotKept, AnswerNotKept):
            with pytest.raises(error):
                await idem.call("k", declines)
    assert runs == 1
    assert "answer_not_stored" in [notice.event for notice in seen]


async def test_a_stored_error_of_a_class_no_longer_declared_is_not_built(backend: MemoryBackend) -> None:
    async def declines() -> None:
        raise Declined("no funds", code=51)

    with pytest.raises(Declined):
        await Idempotency("till", store=backend.states, store_errors=Declined).call("k", declines)
    with pytest.raises(CodecError, match="not among store_errors"):
        await Idempotency("till", store=backend.states).call("k", declines)


async def test_one_key_for_two_requests_is_refused(backend: MemoryBackend) -> None:
    till, idem = Till(), Idempotency("till", store=backend.states)
    await idem.call("k", till.pay, "o1")
    with pytest.raises(KeyReused, match="different request"):
        await idem.call("k", till.pay, "o2")
    assert till.runs == {"o1": 1}


async def test_a_chosen_fingerprint_decides_what_is_the_same(backend: MemoryBackend) -> None:
    till = Till()
    idem = Idempotency("till", store=backend.states, fingerprint=lambda order: order[0])
    first = await idem.by("k").call(till.pay, "o1")
    assert await idem.by("k").call(till.pay, "o2") == first
    with pytest.raises(KeyReused):
        await idem.by("k").call(till.pay, "p1")


async def test_keys_of_two_tenants_never_meet(backend: MemoryBackend) -> None:
    tenant = "t1"
    till, idem = Till(), Idempotency("till", store=backend.states, scope=lambda: tenant)
    await idem.call("k", till.pay, "o1")
    tenant = "t2"
    await idem.call("k", till.pay, "o2")
    tenant = "t1/k"
    await idem.call("k", till.pay, "o3")
    tenant = "t1"
    await idem.call(("k", "k"), till.pay, "o4")
    assert till.runs == {"o1": 1, "o2": 1, "o3": 1, "o4": 1}


async def test_an_answer_is_kept_for_its_time(backend: MemoryBackend) -> None:
    till, idem = Till(), Idempotency("till", store=backend.states, keep_s=60.0)
    await idem.call("k", till.pay, "o1")
    await anyio.sleep(59.0)
    await idem.call("k", till.pay, "o1")
    assert till.runs["o1"] == 1
    await anyio.sleep(1.5)
    await idem.call("k", till.pay, "o1")
    assert till.runs["o1"] == 2


async def test_on_clocks_that_differ_no_client_takes_a_claim_or_an_answer_too_early(backend: MemoryBackend) -> None:
    backend.states.clock = Skewed(2.0)
    till = Idempotency("till", store=backend.states, lease_s=10.0, keep_s=100.0)
    claim = await till.claim("k")
    assert isinstance(claim, Claim)
    assert claim.lease_left_s == pytest.approx(10.0)
    # By a clock that is two seconds ahead, its owner has worked for less than ten seconds.
    await anyio.sleep(11.9)
    with pytest.raises(ClaimHeld):
        await till.claim("k")
    await anyio.sleep(0.2)
    taken = await till.claim("k")
    assert isinstance(taken, Claim)
    await taken.store("answer")
    await anyio.sleep(101.9)
    assert isinstance(await till.claim("k"), Replay)
    await anyio.sleep(0.2)
    assert isinstance(await till.claim("k"), Claim)


async def test_a_decorated_function_and_method_keep_their_names(backend: MemoryBackend) -> None:
    idem = Idempotency("till", store=backend.states)

    class Desk:
        def __init__(self) -> None:
            self.runs = 0

        @idem.by(lambda _self, order: order).protect
        async def pay(self, order: str) -> int:
            """Pay."""
            self.runs += 1
            return self.runs

    one, other = Desk(), Desk()
    assert await one.pay("o1") == 1
    assert await other.pay(order="o1") == 1, "the object that a method belongs to is not part of the request"
    assert (Desk.pay.__name__, Desk.pay.__doc__) == ("pay", "Pay.")


async def test_a_cancelled_call_gives_the_key_back_at_once(backend: MemoryBackend) -> None:
    till, idem = Till(lasts_s=10.0), Idempotency("till", store=backend.states)
    with anyio.move_on_after(1.0):
        await idem.call("k", till.pay, "o1")
    till.lasts_s = 0.0
    assert await idem.call("k", till.pay, "o1") == {"order": "o1", "run": 2}


async def test_a_long_call_keeps_its_lease(backend: MemoryBackend) -> None:
    till = Till(lasts_s=100.0)
    idem = Idempotency("till", store=backend.states, lease_s=3.0, on_busy="wait", wait_max_s=200.0)
    results = await together([lambda: idem.call("k", till.pay, "o1")] * 5)
    assert results == [{"order": "o1", "run": 1}] * 5
    assert till.now_max == 1


async def test_raw_verbs_claim_store_and_replay(backend: MemoryBackend) -> None:
    idem = Idempotency("till", store=backend.states)
    claim = await idem.claim("k", {"amount": 5})
    assert isinstance(claim, Claim)
    assert 29.0 < claim.lease_left_s <= 30.0
    with pytest.raises(ClaimHeld):
        await idem.claim("k", {"amount": 5})
    await claim.store({"charge": "ch_1"})
    assert claim.is_settled
    replay = await idem.claim("k", {"amount": 5})
    assert replay == Replay({"charge": "ch_1"}, claim.fence)
    with pytest.raises(KeyReused):
        await idem.claim("k", {"amount": 6})


async def test_a_released_claim_is_free_and_its_fence_is_spent(backend: MemoryBackend) -> None:
    idem = Idempotency("till", store=backend.states)
    first = await idem.claim("k")
    assert isinstance(first, Claim)
    await first.release()
    second = await idem.claim("k")
    assert isinstance(second, Claim)
    assert second.fence > first.fence
    with pytest.raises(ClaimLost):
        await first.store("late")
    await second.store("mine")
    assert (await idem.claim("k")) == Replay("mine", second.fence)


async def test_an_owner_who_comes_back_late_stores_nothing(backend: MemoryBackend) -> None:
    idem = Idempotency("till", store=backend.states, lease_s=5.0)
    first = await idem.claim("k")
    assert isinstance(first, Claim)
    await anyio.sleep(6.0)
    second = await idem.claim("k")
    assert isinstance(second, Claim)
    assert second.fence > first.fence
    await second.store("second")
    with pytest.raises(ClaimLost):
        await first.store("first")
    await first.release()
    assert (await idem.claim("k")) == Replay("second", second.fence)


async def test_late_but_alone_an_owner_still_stores(backend: MemoryBackend) -> None:
    idem = Idempotency("till", store=backend.states, lease_s=5.0)
    claim = await idem.claim("k")
    assert isinstance(claim, Claim)
    await anyio.sleep(6.0)
    await claim.store("late")
    assert (await idem.claim("k")) == Replay("late", claim.fence)


async def test_the_work_can_store_its_answer_itself(backend: MemoryBackend) -> None:
    idem = Idempotency("till", store=backend.states)

    async def pays() -> str:
        assert current_claim().fence > 0
        await current_claim().store("stored")
        return "returned"

    assert await idem.call("k", pays) == "returned"
    assert await idem.call("k", pays) == "stored"
    with pytest.raises(LookupError):
        current_claim()


@pytest.mark.parametrize("on_outage", ["refuse", "allow"])
async def test_a_full_store_refuses_rather_than_share_a_key(backend: MemoryBackend, on_outage: OnOutage) -> None:
    till, idem = Till(0.0), Idempotency("till", store=backend.states, keys_max=3, on_outage=on_outage)
    for number in range(3):
        await idem.call(f"k{number}", till.pay, "o")
    with pytest.raises(BackendFull):
        await idem.call("k4", till.pay, "o")
    assert till.runs["o"] == 3


async def test_forget_lets_the_next_caller_run(backend: MemoryBackend) -> None:
    till, idem = Till(), Idempotency("till", store=backend.states)
    await idem.call("k", till.pay, "o1")
    await idem.forget("k")
    await idem.call("k", till.pay, "o1")
    assert till.runs["o1"] == 2


async def test_listeners_hear_what_happened_to_a_key(backend: MemoryBackend) -> None:
    seen: list[Notice] = []
    till, idem = Till(), Idempotency("till", store=backend.states)
    with listen(seen.append):
        await together([lambda: idem.call("k", till.pay, "o1")] * 2)
        await idem.call("k", till.pay, "o1")
        with pytest.raises(KeyReused):
            await idem.call("k", till.pay, "o2")
        claim = await idem.claim("other")
        assert isinstance(claim, Claim)
        await claim.release()
    assert [notice.event for notice in seen] == [
        "claim_taken", "claim_refused", "answer_stored", "answer_replayed", "claim_refused", "claim_taken",
        "claim_released",
    ]  # fmt: skip
    assert [notice.labels()["why"] for notice in seen if notice.event == "claim_refused"] == ["held", "reused"]


BAD: list[tuple[str, dict[str, Any]]] = [
    ("lease_s", {"lease_s": 0}),
    ("lease_s", {"lease_s": "30"}),
    ("keep_s", {"keep_s": -1}),
    ("wait_max_s", {"wait_max_s": -1}),
    ("on_busy", {"on_busy": "queue"}),
    ("on_outage", {"on_outage": "ignore"}),
    ("answer_bytes_max", {"answer_bytes_max": 0}),
    ("store_errors", {"store_errors": [int]}),
    ("store_errors", {"store_errors": [Declined, type("Declined", (Exception,), {})]}),
]


@pytest.mark.parametrize(("field", "settings"), BAD)
async def test_bad_settings_are_refused_by_name(backend: MemoryBackend, field: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=field):
        Idempotency("till", store=backend.states, **settings)


async def test_a_key_is_asked_for(backend: MemoryBackend) -> None:
    till, idem = Till(), Idempotency("till", store=backend.states)
    with pytest.raises(TypeError, match="keyed"):
        idem.protect(till.pay)
    with pytest.raises(ValueError, match="at least one character"):
        await idem.claim("")
    assert idem.describe() == "Idempotency 'till' (lease 30 s, refuse when busy)"
