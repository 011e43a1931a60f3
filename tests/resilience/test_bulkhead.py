"""Bulkhead: how many are inside, who comes next, and that no slot is ever lost."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import anyio
import pytest

from sdpatterns import Bulkhead, with_deadline
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.notices import Notice
from sdpatterns.core.outcome import Outcome
from sdpatterns.core.runtime import finish
from sdpatterns.errors import BulkheadFull
from sdpatterns.resilience.bulkhead import SlotRefused
from tests.threads import in_threads

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["", "tenant-7"], ids=["unkeyed", "keyed"])
def key(request: pytest.FixtureRequest) -> str:
    """Without a key the call takes a shorter way; both must keep the same promises."""
    return request.param  # type: ignore[no-any-return]


def through(bulkhead: Bulkhead, key: str) -> Any:
    return bulkhead.by(key) if key else bulkhead


async def test_never_more_inside_than_allowed_and_first_come_first_served(key: str) -> None:
    bulkhead = Bulkhead("reports", concurrent_max=3, queue_max=100)
    inside, most, order = 0, 0, []

    async def work(number: int) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        order.append(number)
        await anyio.sleep(1.0)
        inside -= 1

    protected = through(bulkhead, key).protect(work)

    async def arrive(number: int) -> None:
        await anyio.sleep(number * 0.01)
        await protected(number)

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(arrive, number)
    assert most == 3
    assert order == list(range(20))
    assert bulkhead.occupancy(key) == (0, 0)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_newcomer_does_not_overtake_a_call_that_has_its_turn() -> None:
    bulkhead, order = Bulkhead("reports", concurrent_max=1, queue_max=5), []

    async def one(name: str) -> None:
        async with bulkhead.guard():
            order.append(name)

    await bulkhead.enter("")
    waiting = asyncio.ensure_future(one("waiting"))
    await asyncio.sleep(0)
    bulkhead.leave("", Outcome.SUCCESS, None)
    await one("newcomer")
    await waiting
    assert order == ["waiting", "newcomer"]


async def test_when_slots_and_queue_are_full_the_next_is_refused(key: str, heard: list[Notice]) -> None:
    bulkhead = Bulkhead("reports", concurrent_max=2, queue_max=3)
    refused = []

    async def one() -> None:
        try:
            await through(bulkhead, key).call(anyio.sleep, 1.0)
        except BulkheadFull as refusal:
            refused.append((refusal.name, refusal.key))

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(one)
        await anyio.sleep(0.5)
        assert bulkhead.occupancy(key) == (2, 3)
    assert refused == [("reports", key)] * 5
    assert heard == [SlotRefused(name="reports", key=key, reason="full")] * 5
    assert heard[0].labels() == {"name": "reports", "reason": "full"}


async def test_a_wait_that_is_too_long_ends_in_a_refusal(key: str, heard: list[Notice]) -> None:
    bulkhead = Bulkhead("reports", concurrent_max=1, queue_max=3, max_wait_s=2.0)
    async with anyio.create_task_group() as group:
        group.start_soon(through(bulkhead, key).call, anyio.sleep, 10.0)
        await anyio.sleep(0.1)
        started = SYSTEM.monotonic()
        with pytest.raises(BulkheadFull):
            await through(bulkhead, key).call(anyio.sleep, 0)
        assert SYSTEM.monotonic() - started == pytest.approx(2.0)
        assert bulkhead.occupancy(key) == (1, 0)
    assert heard == [SlotRefused(name="reports", key=key, reason="waited")]


async def test_no_call_waits_past_the_deadline(key: str) -> None:
    bulkhead = Bulkhead("reports", concurrent_max=1, queue_max=3, max_wait_s=5.0)
    async with anyio.create_task_group() as group:
        group.start_soon(through(bulkhead, key).call, anyio.sleep, 10.0)
        await anyio.sleep(0.1)
        started = SYSTEM.monotonic()
        with with_deadline(1.0), pytest.raises(BulkheadFull):
            await through(bulkhead, key).call(anyio.sleep, 0)
        assert SYSTEM.monotonic() - started == pytest.approx(1.0)
        with with_deadline(-1.0), pytest.raises(BulkheadFull):
            await through(bulkhead, key).call(anyio.sleep, 0)


@pytest.mark.parametrize("steps", range(12))
async def test_a_caller_cancelled_at_any_step_takes_no_slot_with_it(key: str, steps: int) -> None:
    """The cancellation strikes after each number of turns: before, in, as it leaves, after the queue."""
    bulkhead = Bulkhead("reports", concurrent_max=1, queue_max=5)
    part = through(bulkhead, key)
    async with anyio.create_task_group() as outer:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(part.call, _three_turns)
                outer.start_soon(part.call, _three_turns)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                scope.cancel()
    assert bulkhead.occupancy(key) == (0, 0)
    assert await part.call(_three_turns) == "done"


async def _three_turns() -> str:
    for _ in range(3):
        await anyio.lowlevel.checkpoint()
    return "done"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_caller_cancelled_as_its_turn_comes_hands_the_slot_on() -> None:
    bulkhead, got = Bulkhead("reports", concurrent_max=1, queue_max=5), []

    async def one(number: int) -> None:
        async with bulkhead.guard():
            got.append(number)

    await bulkhead.enter("")
    first, second = asyncio.ensure_future(one(1)), asyncio.ensure_future(one(2))
    await asyncio.sleep(0)
    bulkhead.leave("", Outcome.SUCCESS, None)
    first.cancel()
    await asyncio.wait([first, second])
    assert (first.cancelled(), got) == (True, [2])
    assert bulkhead.occupancy() == (0, 0)


async def test_keys_do_not_share_slots_and_leave_nothing_behind() -> None:
    bulkhead = Bulkhead("reports", concurrent_max=1)
    async with bulkhead.guard("a"), bulkhead.guard("b"), bulkhead.guard():
        assert bulkhead.occupancy("a") == (1, 0)
        with pytest.raises(BulkheadFull, match="'a'"):
            await bulkhead.enter("a")
    assert set(bulkhead._lanes) == {""}


async def test_the_works_own_exception_arrives_bare(key: str) -> None:
    error = KeyError()

    async def fail() -> None:
        raise error

    bulkhead = Bulkhead("reports", concurrent_max=1)
    with pytest.raises(KeyError) as caught:
        await through(bulkhead, key).call(fail)
    assert caught.value is error
    assert bulkhead.occupancy(key) == (0, 0)


def test_without_a_queue_it_stands_on_a_plain_function() -> None:
    bulkhead = Bulkhead("reports", concurrent_max=1)

    @bulkhead.protect
    def nested(depth: int) -> str:
        return "deep" if depth == 0 else nested(depth - 1)

    assert nested(0) == "deep"
    with pytest.raises(BulkheadFull):
        nested(1)
    with pytest.raises(TypeError, match="blocking"):
        Bulkhead("reports", concurrent_max=1, queue_max=1).protect(nested)


def test_threads_wait_their_turn_and_never_more_are_inside() -> None:
    bulkhead, lock = Bulkhead("reports", concurrent_max=3, queue_max=100, max_wait_s=30.0), threading.Lock()
    inside, most, done = 0, 0, 0

    def work() -> None:
        nonlocal inside, most, done
        for _ in range(200):
            finish(bulkhead.enter(""))
            with lock:
                inside += 1
                most = max(most, inside)
                done += 1
            with lock:
                inside -= 1
            bulkhead.leave("", Outcome.SUCCESS, None)

    in_threads(work)
    assert (most <= 3, done, bulkhead.occupancy()) == (True, 1_600, (0, 0))


def test_loops_in_several_threads_share_the_slots() -> None:
    bulkhead, most, inside, lock = Bulkhead("reports", concurrent_max=2, queue_max=1_000), 0, 0, threading.Lock()

    @bulkhead.protect
    async def work() -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        await asyncio.sleep(0)
        with lock:
            inside -= 1

    async def main() -> None:
        await asyncio.gather(*(work() for _ in range(50)))

    in_threads(lambda: asyncio.run(main()), count=4)
    assert (most, bulkhead.occupancy()) == (2, (0, 0))


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"concurrent_max": 0}, "concurrent_max"),
        ({"concurrent_max": 1.5}, "concurrent_max"),
        ({"queue_max": -1}, "queue_max"),
        ({"max_wait_s": 0}, "max_wait_s"),
    ],
)
def test_a_bad_setting_is_named(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}"):
        Bulkhead("reports", **{"concurrent_max": 1, **settings})


def test_it_describes_itself() -> None:
    bulkhead = Bulkhead("reports", concurrent_max=2, queue_max=10, max_wait_s=1)
    assert bulkhead.describe() == "Bulkhead 'reports': 2 at once, 10 waiting up to 1 s"
    assert Bulkhead("r", concurrent_max=2).describe() == "Bulkhead 'r': 2 at once, 0 waiting"
