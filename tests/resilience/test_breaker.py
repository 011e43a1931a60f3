"""The circuit breaker as its users meet it. Its arithmetic is judged by the model beside this file."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from sdpatterns import Bulkhead, CircuitBreaker, DeadlineExceeded, Timeout, Window, with_deadline
from sdpatterns.core.notices import Notice
from sdpatterns.errors import BulkheadFull, CircuitIsOpen
from sdpatterns.resilience.breaker import (
    CallRefused,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitMode,
    CircuitOpened,
    CircuitShared,
    CircuitState,
)
from sdpatterns.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio


async def fine() -> str:
    return "fine"


async def failing() -> None:
    raise ConnectionError("down")


async def napping(seconds: float) -> str:
    await anyio.sleep(seconds)
    return "fine"


async def call(breaker: CircuitBreaker, work: Any, *args: Any, key: str = "") -> str:
    """What became of one call, in a word."""
    part = breaker.by(key) if key else breaker
    try:
        result = await part.call(work, *args)
    except CircuitIsOpen:
        return "refused"
    except Exception as error:  # noqa: BLE001 - its name is the answer
        return type(error).__name__
    return str(result)


async def opened(breaker: CircuitBreaker, key: str = "") -> CircuitBreaker:
    while breaker.snapshot(key).state is not CircuitState.OPEN:
        assert await call(breaker, failing, key=key) == "ConnectionError"
    return breaker


# -- what opens it -----------------------------------------------------------------------------


async def test_failures_in_a_row_open_it() -> None:
    breaker = CircuitBreaker("quotes", consecutive=3)
    for work in (failing, failing, fine, failing, failing):
        await call(breaker, work)
    assert breaker.state is CircuitState.CLOSED
    await call(breaker, failing)
    assert breaker.state is CircuitState.OPEN
    assert await call(breaker, fine) == "refused"


async def test_a_share_of_the_last_calls_opens_it_once_there_are_enough() -> None:
    breaker = CircuitBreaker("quotes", failure_rate=0.5, window=Window.calls(10), calls_min=4)
    for _ in range(3):
        await call(breaker, failing)
    assert breaker.state is CircuitState.CLOSED
    await call(breaker, failing)
    assert breaker.state is CircuitState.OPEN


async def test_calls_that_left_the_window_no_longer_count() -> None:
    breaker = CircuitBreaker("quotes", failure_rate=0.5, window=Window.calls(4), calls_min=4)
    for work in (failing, fine, fine, fine, fine, failing):
        await call(breaker, work)
    assert breaker.state is CircuitState.CLOSED
    snapshot = breaker.snapshot()
    assert (snapshot.calls, snapshot.failures) == (4, 1)


async def test_failures_that_are_too_old_no_longer_count() -> None:
    breaker = CircuitBreaker("quotes", failure_rate=0.5, window=Window.seconds(60), calls_min=4)
    for _ in range(3):
        await call(breaker, failing)
    await anyio.sleep(63)
    await call(breaker, failing)
    assert breaker.state is CircuitState.CLOSED
    assert breaker.snapshot().failures == 1
    await anyio.sleep(63)
    assert breaker.snapshot().calls == 0


async def test_slow_calls_open_it_though_they_succeed() -> None:
    breaker = CircuitBreaker("quotes", slow_call_s=1.0, slow_call_rate=0.5, calls_min=4)
    for seconds in (0.5, 1.0, 0.5):
        assert await call(breaker, napping, seconds) == "fine"
    assert breaker.state is CircuitState.CLOSED
    assert await call(breaker, napping, 1.5) == "fine"
    assert breaker.state is CircuitState.OPEN
    assert breaker.snapshot().slow == 2


async def test_one_condition_of_several_is_enough(heard: list[Notice]) -> None:
    breaker = CircuitBreaker("quotes", consecutive=3, failure_rate=0.9, slow_call_s=1.0, slow_call_rate=0.9)
    await opened(breaker)
    assert [notice.labels()["reason"] for notice in heard] == ["consecutive"]


async def test_without_a_condition_half_of_the_calls_must_fail() -> None:
    breaker = CircuitBreaker("quotes")
    for _ in range(9):
        await call(breaker, failing)
    assert breaker.state is CircuitState.CLOSED
    await call(breaker, failing)
    assert breaker.state is CircuitState.OPEN


async def test_a_fine_call_never_opens_it() -> None:
    breaker = CircuitBreaker("quotes", failure_rate=0.5, calls_min=4)
    for work in (failing, failing, failing, fine):
        await call(breaker, work)
    assert breaker.state is CircuitState.CLOSED
    await call(breaker, failing)
    assert breaker.state is CircuitState.OPEN


# -- what counts -------------------------------------------------------------------------------


async def test_only_the_named_exceptions_are_failures_and_others_count_neither_way() -> None:
    breaker = CircuitBreaker("quotes", consecutive=2, failures=(ConnectionError, OSError))

    async def unknown() -> None:
        raise KeyError

    for work in (failing, unknown):
        await call(breaker, work)
    assert breaker.snapshot().consecutive == 1
    await call(breaker, failing)
    assert breaker.state is CircuitState.OPEN


async def test_a_predicate_tells_failures_and_one_that_raises_has_found_one() -> None:
    def judge(error: Exception) -> bool:
        return bool(error.args[0] == "down")

    breaker = await opened(CircuitBreaker("quotes", consecutive=2, failures=judge, open_s=1.0))
    await anyio.sleep(1.0)

    async def silent() -> None:
        raise ConnectionError

    assert await call(breaker, silent) == "ConnectionError"
    assert breaker.state is CircuitState.OPEN
    await anyio.sleep(1.0)
    assert await call(breaker, fine) == "fine"
    assert breaker.state is CircuitState.CLOSED


async def test_a_result_may_be_a_failure() -> None:
    breaker = CircuitBreaker("quotes", consecutive=2, on_result=lambda result: result == "fine")
    assert [await call(breaker, fine) for _ in range(3)] == ["fine", "fine", "refused"]


async def test_a_judge_of_results_that_raises_counts_neither_way_and_keeps_no_place() -> None:
    def judge(result: object) -> bool:
        raise LookupError

    breaker = await opened(CircuitBreaker("quotes", consecutive=1, on_result=judge, open_s=1.0))
    for _ in range(3):
        await anyio.sleep(1.0)
        assert await call(breaker, fine) == "LookupError"


async def test_a_refusal_further_in_says_nothing_about_the_callee() -> None:
    breaker, bulkhead = CircuitBreaker("quotes", consecutive=1), Bulkhead("slots", concurrent_max=1)

    async def crowded() -> None:
        async with bulkhead.guard(), bulkhead.guard():
            raise AssertionError("both were let in")

    with pytest.raises(BulkheadFull):
        await breaker.call(crowded)
    assert breaker.state is CircuitState.CLOSED


async def test_a_call_without_time_says_nothing_and_one_that_ran_out_of_it_does() -> None:
    breaker = CircuitBreaker("quotes", consecutive=1)
    with with_deadline(0.0), pytest.raises(DeadlineExceeded):
        await breaker.call(Timeout(1.0).protect(fine))
    assert breaker.state is CircuitState.CLOSED
    with pytest.raises(DeadlineExceeded):
        await breaker.call(Timeout(1.0).protect(napping), 60)
    assert breaker.state is CircuitState.OPEN


# -- open, half-open, closed again -------------------------------------------------------------


async def test_a_refusal_says_when_to_ask_again() -> None:
    breaker = await opened(CircuitBreaker("quotes", consecutive=1, open_s=30.0))
    await anyio.sleep(10.0)
    with pytest.raises(CircuitIsOpen) as caught:
        await breaker.call(fine)
    refusal = caught.value
    assert (refusal.name, refusal.key, refusal.retry_after_s) == ("quotes", "", pytest.approx(20.0))
    assert breaker.snapshot().retry_after_s == pytest.approx(20.0)


async def test_a_good_probe_closes_it_and_counting_starts_again() -> None:
    breaker = await opened(CircuitBreaker("quotes", consecutive=2, open_s=30.0))
    await anyio.sleep(30.0)
    assert await call(breaker, fine) == "fine"
    assert breaker.state is CircuitState.CLOSED
    await call(breaker, failing)
    assert breaker.state is CircuitState.CLOSED


async def test_a_bad_probe_opens_it_again() -> None:
    breaker = await opened(CircuitBreaker("quotes", consecutive=2, open_s=30.0))
    await anyio.sleep(30.0)
    assert await call(breaker, failing) == "ConnectionError"
    assert breaker.state is CircuitState.OPEN
    await anyio.sleep(29.9)
    assert await call(breaker, fine) == "refused"


async def test_a_slow_probe_is_a_bad_one_where_slow_calls_count() -> None:
    breaker = await opened(CircuitBreaker("quotes", consecutive=1, slow_call_s=1.0, slow_call_rate=0.5, open_s=30.0))
    await anyio.sleep(30.0)
    assert await call(breaker, napping, 2.0) == "fine"
    assert breaker.state is CircuitState.OPEN


async def test_several_good_probes_may_be_asked_for() -> None:
    breaker = await opened(CircuitBreaker("quotes", consecutive=1, open_s=30.0, probe_successes=3))
    await anyio.sleep(30.0)
    for _ in range(2):
        await call(breaker, fine)
        assert breaker.state is CircuitState.HALF_OPEN
    await call(breaker, fine)
    assert breaker.state is CircuitState.CLOSED


async def test_the_open_time_grows_while_probes_fail_up_to_a_bound_and_starts_over() -> None:
    breaker = CircuitBreaker("quotes", consecutive=1, open_s=10.0, open_growth=2.0, open_max_s=35.0)
    lasted = []
    for _ in range(4):
        assert await call(breaker, failing) == "ConnectionError"
        lasted.append(breaker.snapshot().retry_after_s)
        await anyio.sleep(lasted[-1] or 0)
    assert lasted == [pytest.approx(seconds) for seconds in (10.0, 20.0, 35.0, 35.0)]
    await call(breaker, fine)
    await opened(breaker)
    assert breaker.snapshot().retry_after_s == pytest.approx(10.0)


async def test_jitter_only_ever_lengthens_the_open_time() -> None:
    breaker = await opened(CircuitBreaker("quotes", consecutive=1, open_s=10.0, open_jitter=0.5, random=lambda: 0.6))
    assert breaker.snapshot().retry_after_s == pytest.approx(13.0)


async def test_a_probe_has_its_full_time_however_old_the_half_open_state() -> None:
    breaker = await opened(CircuitBreaker("quotes", consecutive=1, open_s=10.0, probe_successes=2))
    await anyio.sleep(10.0)
    assert await call(breaker, fine) == "fine"
    await anyio.sleep(100.0)
    async with anyio.create_task_group() as group:
        group.start_soon(call, breaker, napping, 5)
        await anyio.sleep(1.0)
        assert await call(breaker, fine) == "refused"
    assert breaker.state is CircuitState.CLOSED


async def test_a_late_probe_is_not_overdue_for_its_neighbour_that_came_back() -> None:
    breaker = await opened(CircuitBreaker("quotes", consecutive=1, open_s=10.0, probes=2, probe_successes=3))
    await anyio.sleep(10.0)
    async with anyio.create_task_group() as group:
        for naps_s in (55, 30):
            group.start_soon(call, breaker, napping, naps_s)
            await anyio.sleep(50.0 if naps_s == 55 else 6.0)
        assert await call(breaker, fine) == "fine"
        await anyio.sleep(5.0)
        assert await call(breaker, fine) == "fine"
    assert breaker.state is CircuitState.CLOSED


async def test_a_probe_that_does_not_come_back_opens_it_again(heard: list[Notice]) -> None:
    breaker = await opened(CircuitBreaker("quotes", consecutive=1, open_s=10.0, half_open_max_s=60.0))
    await anyio.sleep(10.0)
    async with anyio.create_task_group() as group:
        group.start_soon(call, breaker, napping, 500)
        await anyio.sleep(59.0)
        assert await call(breaker, fine) == "refused"
        assert breaker.state is CircuitState.HALF_OPEN
        await anyio.sleep(1.5)
        assert await call(breaker, fine) == "refused"
        assert breaker.state is CircuitState.OPEN
        await anyio.sleep(10.0)
        assert await call(breaker, fine) == "fine"
        assert breaker.state is CircuitState.CLOSED
    assert breaker.state is CircuitState.CLOSED
    assert [n.labels().get("reason") for n in heard if isinstance(n, CircuitOpened)] == ["consecutive", "probe_time"]


async def test_a_cancelled_call_counts_neither_way() -> None:
    breaker = CircuitBreaker("quotes", consecutive=2)
    await call(breaker, failing)
    with anyio.move_on_after(1.0):
        await breaker.call(napping, 60)
    assert breaker.snapshot().consecutive == 1


async def test_listeners_hear_every_turn(heard: list[Notice]) -> None:
    breaker = await opened(CircuitBreaker("quotes", consecutive=1, open_s=30.0))
    await call(breaker, fine)
    await anyio.sleep(30.0)
    await call(breaker, fine)
    assert heard == [
        CircuitOpened(name="quotes", key="", reason="consecutive", open_s=30.0),
        CallRefused(name="quotes", key="", retry_after_s=30.0, enforced=True),
        CircuitHalfOpened(name="quotes", key=""),
        CircuitClosed(name="quotes", key="", reason="probes"),
    ]
    assert [notice.labels() for notice in heard] == [
        {"name": "quotes", "reason": "consecutive"},
        {"name": "quotes", "enforced": "true"},
        {"name": "quotes"},
        {"name": "quotes", "reason": "probes"},
    ]


# -- by hand -----------------------------------------------------------------------------------


async def test_opened_by_hand_it_stays_open_until_it_is_closed_by_hand() -> None:
    breaker = CircuitBreaker("quotes", consecutive=1, open_s=1.0)
    breaker.open()
    await anyio.sleep(3600)
    with pytest.raises(CircuitIsOpen) as caught:
        await breaker.call(fine)
    assert caught.value.retry_after_s is None
    assert breaker.snapshot().mode is CircuitMode.FORCED
    breaker.auto()
    assert breaker.state is CircuitState.HALF_OPEN
    assert await call(breaker, fine) == "fine"
    assert breaker.state is CircuitState.CLOSED


async def test_closed_by_hand_it_counts_from_zero_and_decides_again() -> None:
    breaker = await opened(CircuitBreaker("quotes", consecutive=2))
    breaker.close()
    assert await call(breaker, failing) == "ConnectionError"
    assert breaker.state is CircuitState.CLOSED
    await opened(breaker)
    breaker.open()
    breaker.close()
    assert breaker.snapshot().mode is CircuitMode.AUTO


async def test_disabled_it_lets_everything_pass_and_counts_nothing() -> None:
    breaker = await opened(CircuitBreaker("quotes", consecutive=1))
    breaker.disable()
    assert [await call(breaker, failing) for _ in range(3)] == ["ConnectionError"] * 3
    assert breaker.snapshot()[2:6] == (CircuitState.CLOSED, CircuitMode.DISABLED, 0, 0)
    breaker.auto()
    await opened(breaker)


async def test_observing_it_only_reports_what_it_would_refuse(heard: list[Notice]) -> None:
    breaker = CircuitBreaker("quotes", consecutive=2, open_s=30.0)
    breaker.observe()
    await opened(breaker)
    assert await call(breaker, fine) == "fine"
    assert breaker.state is CircuitState.OPEN
    await anyio.sleep(30.0)
    assert await call(breaker, fine) == "fine"
    assert breaker.state is CircuitState.CLOSED
    assert [type(notice) for notice in heard] == [CircuitOpened, CallRefused, CircuitHalfOpened, CircuitClosed]
    assert heard[1].labels() == {"name": "quotes", "enforced": "false"}
    breaker.auto()
    await opened(breaker)
    assert await call(breaker, fine) == "refused"


async def test_listeners_get_each_change_by_hand(heard: list[Notice]) -> None:
    breaker = CircuitBreaker("quotes")
    for act in (
        breaker.open,
        breaker.auto,
        breaker.close,
        breaker.disable,
        breaker.auto,
        breaker.open,
        breaker.disable,
    ):
        act()
    assert [type(notice).__name__ + notice.labels().get("reason", "") for notice in heard] == [
        "CircuitOpenedmanual", "CircuitHalfOpened", "CircuitClosedmanual",
        "CircuitOpenedmanual", "CircuitClosedmanual",
    ]  # fmt: skip


# -- keys --------------------------------------------------------------------------------------


async def test_each_key_has_its_own_circuit() -> None:
    breaker = await opened(CircuitBreaker("hosts", consecutive=2), "eu-1")
    assert await call(breaker, fine, key="eu-1") == "refused"
    assert await call(breaker, fine, key="eu-2") == "fine"
    assert await call(breaker, fine) == "fine"
    assert {snapshot.key: snapshot.state.value for snapshot in breaker.snapshots()} == {
        "": "closed", "eu-1": "open", "eu-2": "closed",
    }  # fmt: skip
    with pytest.raises(CircuitIsOpen, match="'eu-1'"):
        async with breaker.guard("eu-1"):
            pass


async def test_the_key_may_come_from_the_call() -> None:
    breaker = CircuitBreaker("hosts", consecutive=1)

    async def fetch(host: str) -> str:
        if host == "eu-1":
            raise ConnectionError
        return "fine"

    fetch_safely = breaker.by(lambda host: host).protect(fetch)
    with pytest.raises(ConnectionError):
        await fetch_safely("eu-1")
    with pytest.raises(CircuitIsOpen):
        await fetch_safely("eu-1")
    assert await fetch_safely("eu-2") == "fine"


async def test_a_hand_may_act_on_one_key() -> None:
    breaker = CircuitBreaker("hosts", idle_s=10.0)
    breaker.open("eu-1")
    await anyio.sleep(100.0)
    assert await call(breaker, fine, key="eu-1") == "refused"
    breaker.close("eu-1")
    assert await call(breaker, fine, key="eu-1") == "fine"


async def test_an_idle_key_starts_from_zero_and_one_that_is_held_open_does_not() -> None:
    breaker = CircuitBreaker("hosts", consecutive=2, open_s=600.0, idle_s=60.0)
    await call(breaker, failing, key="eu-1")
    await opened(breaker, "eu-2")
    await anyio.sleep(61.0)
    await call(breaker, failing, key="eu-1")
    assert breaker.snapshot("eu-1").state is CircuitState.CLOSED
    assert await call(breaker, fine, key="eu-2") == "refused"


async def test_keys_beyond_the_bound_share_a_circuit_and_old_ones_keep_theirs(heard: list[Notice]) -> None:
    breaker = CircuitBreaker("hosts", consecutive=2, keys_max=3)
    for key in ("a", "b", "c"):
        await opened(breaker, key)
    heard.clear()
    assert await call(breaker, failing, key="d") == "ConnectionError"
    assert await call(breaker, failing, key="e") == "ConnectionError"
    assert await call(breaker, fine, key="f") == "refused"
    assert await call(breaker, fine, key="a") == "refused"
    assert [notice.key for notice in heard if isinstance(notice, CircuitShared)] == ["d", "e", "f"]
    assert len(breaker._circuits) == 3


async def test_the_shared_circuit_starts_from_zero_when_idle() -> None:
    breaker = CircuitBreaker("hosts", consecutive=2, keys_max=1, idle_s=60.0, open_s=1.0)
    await call(breaker, fine, key="a")
    await call(breaker, failing, key="b")
    for _ in range(3):
        await anyio.sleep(30.0)
        await call(breaker, fine, key="a")
    assert await call(breaker, failing, key="c") == "ConnectionError"
    assert await call(breaker, fine, key="d") == "fine"


async def test_room_is_made_by_dropping_idle_keys() -> None:
    breaker = CircuitBreaker("hosts", keys_max=100, idle_s=60.0)
    for number in range(300):
        await call(breaker, fine, key=str(number))
        await anyio.sleep(1.0)
    assert len(breaker._circuits) <= 100
    assert not [s for s in breaker.snapshots() if s.key and int(s.key) < 150]


# -- shapes ------------------------------------------------------------------------------------


def test_it_stands_on_a_plain_function(virtual_clock: VirtualClock) -> None:
    breaker = CircuitBreaker("quotes", consecutive=1, open_s=30.0)

    @breaker.protect
    def fetch(works: bool) -> str:
        if not works:
            raise ConnectionError
        return "fine"

    assert fetch(True) == "fine"
    with pytest.raises(ConnectionError):
        fetch(False)
    with pytest.raises(CircuitIsOpen):
        fetch(True)
    virtual_clock.advance(30.0)
    assert fetch(True) == "fine"


async def test_a_guarded_block_counts_like_a_call() -> None:
    breaker = CircuitBreaker("quotes", consecutive=1, slow_call_s=1.0, slow_call_rate=0.9, calls_min=2)
    async with breaker.guard():
        await anyio.sleep(1.0)
    async with breaker.guard():
        pass
    assert breaker.snapshot()[4:7] == (2, 0, 1)
    with pytest.raises(ConnectionError):
        async with breaker.guard():
            raise ConnectionError
    assert breaker.state is CircuitState.OPEN
    with pytest.raises(CircuitIsOpen):
        await breaker.guard().__aenter__()


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"failure_rate": 0}, "failure_rate"),
        ({"failure_rate": 1.1}, "failure_rate"),
        ({"failure_rate": True}, "failure_rate"),
        ({"consecutive": 0}, "consecutive"),
        ({"slow_call_s": 1.0}, "slow_call_s and slow_call_rate"),
        ({"slow_call_rate": 0.5}, "slow_call_s and slow_call_rate"),
        ({"slow_call_rate": 2, "slow_call_s": 1.0}, "slow_call_rate"),
        ({"slow_call_rate": 0.5, "slow_call_s": 0}, "slow_call_s"),
        ({"window": 100}, "window"),
        ({"calls_min": 0}, "calls_min"),
        ({"calls_min": 101}, "calls_min"),
        ({"open_s": 0}, "open_s"),
        ({"open_s": 10, "open_max_s": 5}, "open_max_s"),
        ({"open_growth": 0.5}, "open_growth"),
        ({"open_jitter": 2}, "open_jitter"),
        ({"probes": 0}, "probes"),
        ({"probe_successes": 0}, "probe_successes"),
        ({"half_open_max_s": 0}, "half_open_max_s"),
        ({"failures": KeyboardInterrupt}, "failures"),
        ({"keys_max": 0}, "keys_max"),
        ({"idle_s": 0}, "idle_s"),
    ],
)
def test_a_bad_setting_is_named(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}"):
        CircuitBreaker("quotes", **settings)


async def test_a_person_sets_one_key_and_no_other_even_beyond_the_bound() -> None:
    breaker = CircuitBreaker("quotes", consecutive=1, keys_max=1)
    assert await call(breaker, fine, key="eu-1") == "fine"
    breaker.open("eu-2")
    assert [await call(breaker, fine, key=key) for key in ("eu-2", "eu-3")] == ["refused", "fine"]


async def test_a_key_that_shares_a_circuit_shows_that_one() -> None:
    breaker = CircuitBreaker("quotes", consecutive=1, keys_max=1)
    assert await call(breaker, fine, key="eu-1") == "fine"
    assert await call(breaker, failing, key="eu-2") == "ConnectionError"
    assert [breaker.snapshot(key).state.value for key in ("eu-1", "eu-2")] == ["closed", "open"]


def test_a_bad_window_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^Window\.calls"):
        Window.calls(0)
    with pytest.raises(ValueError, match=r"^Window\.seconds"):
        Window.seconds(0)
    with pytest.raises(ValueError, match=r"^steps"):
        Window.seconds(1, steps=0)


def test_it_describes_itself() -> None:
    breaker = CircuitBreaker(
        "q", consecutive=5, failure_rate=0.5, slow_call_s=1, slow_call_rate=0.8, window=Window.seconds(60)
    )
    assert breaker.describe() == (
        "CircuitBreaker 'q': open for 30 s after 5 failures in a row or 50% failed or 80% slower than 1 s of 60 s"
    )
    assert CircuitBreaker("q").describe() == "CircuitBreaker 'q': open for 30 s after 50% failed of 100 calls"
    assert (
        CircuitBreaker("q", consecutive=5).describe() == "CircuitBreaker 'q': open for 30 s after 5 failures in a row"
    )
