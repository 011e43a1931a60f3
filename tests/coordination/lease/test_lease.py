"""A lease in virtual time, under asyncio and trio."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from sdpatterns import Lease, listen, with_deadline
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.coordination.lease import Held, current_lease
from sdpatterns.coordination.lease.decision import Ask
from sdpatterns.coordination.lease.notices import LeaseLeft, LeaseRefused, LeaseReleased, LeaseTaken
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.notices import Notice
from sdpatterns.errors import BackendUnavailable, LeaseLost, LeaseNotGranted
from sdpatterns.ports.timekeeping import Skewed
from tests.coordination.idempotency.slow_store import SlowStates

pytestmark = pytest.mark.anyio


class Room:
    """A backend with one lease, and a note of who was inside."""

    def __init__(self, backend: MemoryBackend, **settings: Any) -> None:
        self.backend = backend
        self.lease = Lease("payout", store=backend.states, signals=backend.signals, **settings)
        self.inside = 0
        self.order: list[Any] = []

    async def visit(self, who: Any, lasts_s: float = 1.0) -> None:
        async with self.lease.guard("k") as held:
            self.inside += 1
            assert self.inside == 1, "two hold it"
            self.order.append(who)
            try:
                await anyio.sleep(lasts_s)
            finally:
                self.inside -= 1
        self.fence = held.fence

    async def line(self, key: str = "k") -> Any:
        """What the store holds."""
        return await self.lease._permits.cells.read(key)


async def is_free(lease: Lease, key: str = "k") -> bool:
    """Whether no caller holds the key or waits. (A cell stays where no time has passed since its fence.)"""
    line = await lease._permits.cells.read(key)
    return line is None or not (line.holders or line.queue)


@pytest.fixture
def room(backend: MemoryBackend) -> Room:
    return Room(backend)


async def test_callers_hold_it_one_after_another_in_the_order_in_which_they_came(room: Room) -> None:
    started = SYSTEM.monotonic()
    async with anyio.create_task_group() as group:
        for who in range(10):
            group.start_soon(room.visit, who)
            await anyio.sleep(0.01)
    assert room.order == list(range(10))
    assert SYSTEM.monotonic() - started == pytest.approx(10.0, abs=0.05), "handed over without a pause"
    assert await room.line() is None, "a key without holder takes no room"


async def test_fences_grow(room: Room) -> None:
    fences = []
    for _ in range(5):
        async with room.lease.guard("k") as held:
            fences.append(held.fence)
    assert fences == sorted(set(fences))


async def test_keys_are_independent_and_no_key_is_a_key(room: Room) -> None:
    async with room.lease.guard("a"), room.lease.guard("b"), room.lease.guard():
        assert (await room.lease.acquire()).allowed is False
        assert (await room.lease.acquire("c")).allowed is True


async def test_long_work_keeps_its_lease(room: Room) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(room.visit, "long", 50.0)
        await anyio.sleep(0.01)
        group.start_soon(room.visit, "next", 1.0)
    assert room.order == ["long", "next"]


async def test_a_caller_that_waits_too_long_leaves_its_place(room: Room) -> None:
    async with room.lease.guard("k"):
        with pytest.raises(LeaseNotGranted, match="the lease is held: 'payout' for key 'k'") as refused:
            await room.lease.wait("k", max_wait_s=3.0)
        assert refused.value.retry_after_s is not None
        assert (await room.line()).queue == ()
        with pytest.raises(LeaseNotGranted):
            await room.lease.wait("k", max_wait_s=0.0)
        started = SYSTEM.monotonic()
        with with_deadline(2.0), pytest.raises(LeaseNotGranted):
            await room.lease.wait("k")
        assert SYSTEM.monotonic() - started == pytest.approx(2.0)
    assert (await room.lease.acquire("k")).allowed


async def test_a_guard_that_does_not_wait_refuses_at_once(backend: MemoryBackend) -> None:
    room = Room(backend, wait_max_s=0)
    async with room.lease.guard("k"):
        with pytest.raises(LeaseNotGranted):
            async with room.lease.guard("k"):
                raise AssertionError("entered twice")


async def test_a_cancelled_waiter_leaves_its_place(room: Room) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(room.visit, "first", 5.0)
        await anyio.sleep(0.01)
        with anyio.move_on_after(1.0) as scope:
            await room.visit("cancelled")
        assert scope.cancelled_caught
        assert (await room.line()).queue == ()
        group.start_soon(room.visit, "second")
    assert room.order == ["first", "second"]


async def test_a_waiter_cancelled_as_its_turn_comes_hands_it_on(backend: MemoryBackend) -> None:
    store = SlowStates(backend)
    lease = Lease("payout", store=store, signals=backend.signals)
    async with lease.guard("k"):
        pass
    first = await lease.wait("k")
    scope = anyio.CancelScope()

    async def waiter() -> None:
        with scope:
            async with lease.guard("k"):
                await anyio.sleep(5.0)

    async def cancel(name: str) -> None:
        if name == "Leave":
            scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(waiter)
        await anyio.sleep(1.0)
        store.after = cancel
        await lease.release(first)
    assert await is_free(lease)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", ["Ask", "Leave"])
async def test_a_cancellation_at_any_step_leaves_nothing_behind(backend: MemoryBackend, moment: str, step: str) -> None:
    store = SlowStates(backend)
    lease = Lease("payout", store=store, signals=backend.signals)
    with anyio.CancelScope() as scope:

        async def cancel(name: str) -> None:
            if name == step:
                setattr(store, moment, pause)
                scope.cancel()
                await anyio.sleep(0.1)

        async def pause(_name: str) -> None:
            await anyio.lowlevel.checkpoint()

        setattr(store, moment, cancel)
        async with lease.guard("k"):
            await anyio.sleep(0.1)
    assert scope.cancelled_caught
    assert await is_free(lease)


async def test_work_that_raises_or_is_cancelled_gives_the_lease_back(room: Room) -> None:
    with pytest.raises(KeyError, match="own"):
        async with room.lease.guard("k"):
            raise KeyError("own")
    with anyio.move_on_after(1.0) as scope:
        await room.visit("cancelled", 5.0)
    assert scope.cancelled_caught
    assert await room.line() is None


async def test_a_holder_whose_lease_went_to_another_is_cancelled(room: Room) -> None:
    heard: list[Notice] = []
    reached = False
    with listen(heard.append), pytest.raises(LeaseLost, match="another holder has it") as lost:  # noqa: PT012 - the whole block is cancelled
        async with room.lease.guard("k") as held:
            await anyio.sleep(0.1)
            await room.lease._permits.cells.delete("k")
            other = (await room.lease.acquire("k")).permit
            await anyio.sleep(30.0)
            reached = True
    assert not reached
    assert held.is_lost
    assert lost.value.__cause__ is None
    assert other is not None
    assert other.fence > held.fence
    assert [type(notice) for notice in heard].count(LeaseLeft) == 1
    assert (await room.lease.acquire("k")).allowed is False, "the loser released the lease of the other"


async def test_a_holder_that_cannot_renew_is_cancelled_when_its_lease_ends(backend: MemoryBackend) -> None:
    store = SlowStates(backend)
    lease = Lease("payout", store=store, signals=backend.signals, lease_s=10.0)

    async def away(_name: str) -> None:
        raise BackendUnavailable("gone")

    started = SYSTEM.monotonic()
    with pytest.raises(LeaseLost):  # noqa: PT012 - the whole block is cancelled
        async with lease.guard("k"):
            store.before = away
            await anyio.sleep(100.0)
    assert 9.0 < SYSTEM.monotonic() - started <= 10.1


async def test_a_store_that_is_away_lets_nothing_run(backend: MemoryBackend) -> None:
    store = SlowStates(backend)
    lease = Lease("payout", store=store, signals=backend.signals)

    async def away(_name: str) -> None:
        raise BackendUnavailable("gone")

    store.before = away
    with pytest.raises(BackendUnavailable):
        async with lease.guard("k"):
            raise AssertionError("entered without a lease")
    with pytest.raises(BackendUnavailable):
        await lease.acquire("k")


async def test_a_release_that_fails_is_told_and_not_raised(backend: MemoryBackend) -> None:
    store, heard = SlowStates(backend), list[Notice]()
    lease = Lease("payout", store=store, signals=backend.signals)

    async def away(name: str) -> None:
        if name == "Leave":
            raise BackendUnavailable("gone")

    with listen(heard.append):
        async with lease.guard("k"):
            store.before = away
    assert [type(notice) for notice in heard] == [LeaseTaken, LeaseLeft]


async def test_an_answer_that_took_longer_than_the_lease_gives_nothing(backend: MemoryBackend) -> None:
    store = SlowStates(backend)
    lease = Lease("payout", store=store, signals=backend.signals, lease_s=1.0)

    async def slow(name: str) -> None:
        await anyio.sleep(2.0)

    store.after = slow
    with pytest.raises(BackendUnavailable, match="longer to answer than the lease"):
        await lease.acquire("k")


async def test_a_decorated_function_holds_its_key_and_knows_its_fence(room: Room) -> None:
    seen: list[Held] = []

    @room.lease.by(lambda seller: seller)
    async def pay(seller: str) -> str:
        seen.append(current_lease())
        assert (await room.lease.acquire(seller)).allowed is False
        return seller

    assert await pay("s-1") == "s-1"
    assert (seen[0].name, seen[0].key) == ("payout", "s-1")
    assert (await room.lease.acquire("s-1")).allowed
    with pytest.raises(LookupError):
        current_lease()
    async with room.lease.by("fixed").guard() as outer:
        async with room.lease.guard("inner") as inner:
            assert current_lease() is inner
        assert current_lease() is outer
    with pytest.raises(TypeError, match="depends on a call"):
        room.lease.by(lambda: "k").guard()


async def test_raw_verbs_renew_and_release_what_is_held_and_nothing_else(room: Room) -> None:
    lease = room.lease
    answer = await lease.acquire("k")
    assert answer.permit is not None
    held = answer.permit
    await anyio.sleep(9.0)
    assert held.left_s == pytest.approx(1.0)
    assert await lease.renew(held)
    assert held.left_s == pytest.approx(10.0)
    await anyio.sleep(9.0)
    refused = await lease.acquire("k")
    assert (refused.permit, refused.retry_after_s) == (None, pytest.approx(1.0))
    await anyio.sleep(1.5)
    other = (await lease.acquire("k")).permit
    assert other is not None
    assert await lease.renew(held) is False
    assert await lease.release(held) is False
    assert (await lease.acquire("k")).allowed is False, "one that held it before released it"
    assert await lease.release(other) is True
    assert await lease.release(other) is False


async def test_a_dead_holder_is_followed_when_its_lease_ends(room: Room) -> None:
    assert (await room.lease.acquire("k")).allowed
    started = SYSTEM.monotonic()
    await room.visit("next")
    assert SYSTEM.monotonic() - started == pytest.approx(11.0, abs=0.01)


async def test_a_dead_waiter_is_passed_over(room: Room) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(room.visit, "first", 25.0)
        await anyio.sleep(1.0)
        await room.lease._permits.cells.transact("k", Ask("dead#1", 10_000_000, alive_us=10_000_000))
        group.start_soon(room.visit, "second")
    assert room.order == ["first", "second"]


async def test_a_line_that_is_full_refuses(backend: MemoryBackend) -> None:
    room, heard = Room(backend, waiters_max=1), list[Notice]()
    async with anyio.create_task_group() as group:
        group.start_soon(room.visit, "first")
        await anyio.sleep(0.1)
        group.start_soon(room.visit, "second")
        await anyio.sleep(0.1)
        with listen(heard.append), pytest.raises(LeaseNotGranted):
            await room.visit("third")
    assert [(type(notice), notice.labels()) for notice in heard] == [(LeaseRefused, {"name": "payout", "why": "full"})]


async def test_listeners_hear_what_happens(room: Room) -> None:
    heard: list[Notice] = []
    with listen(heard.append):
        async with anyio.create_task_group() as group:
            group.start_soon(room.visit, "first")
            await anyio.sleep(0.1)
            group.start_soon(room.visit, "second")
    assert sorted(type(notice).__name__ for notice in heard) == [
        "LeaseReleased", "LeaseReleased", "LeaseTaken", "LeaseTaken",
    ]  # fmt: skip
    waited = [notice.waited_s for notice in heard if isinstance(notice, LeaseTaken)]
    assert waited == [0.0, pytest.approx(0.9)]
    assert {notice.measures().get("waited_s") is None for notice in heard if isinstance(notice, LeaseReleased)} == {
        True
    }


async def test_without_signals_a_waiter_looks_again_each_second(backend: MemoryBackend) -> None:
    class Away:
        runtime = None

        def subscribe(self, *topics: str) -> Any:
            raise BackendUnavailable("gone")

    lease = Lease("payout", store=backend.states, signals=Away())  # type: ignore[arg-type]
    held = (await lease.acquire("k")).permit
    assert held is not None
    started = SYSTEM.monotonic()

    async def release() -> None:
        await anyio.sleep(2.5)
        await backend.states.cells(lease._permits._space).delete("k")

    async with anyio.create_task_group() as group:
        group.start_soon(release)
        await lease.wait("k")
    assert SYSTEM.monotonic() - started == pytest.approx(3.0)


async def test_a_lease_on_clocks_that_differ_is_written_longer_than_it_is_counted(backend: MemoryBackend) -> None:
    store = SlowStates(backend)
    store.clock = Skewed(2.0)
    lease = Lease("payout", store=store, signals=backend.signals, lease_s=10.0)
    held = (await lease.acquire("k")).permit
    assert held is not None
    assert held.left_s == pytest.approx(10.0)
    await anyio.sleep(11.9)
    assert (await lease.acquire("k")).allowed is False
    await anyio.sleep(0.2)
    assert (await lease.acquire("k")).allowed is True


async def test_a_block_is_entered_once(room: Room) -> None:
    block = room.lease.guard("k")
    async with block:
        with pytest.raises(RuntimeError, match="entered once"):
            await block.__aenter__()
    assert repr(block).startswith("<Holding of <Lease 'payout'")


def test_bad_settings_are_named(backend: MemoryBackend) -> None:
    for field, value in (("lease_s", 0), ("wait_max_s", -1), ("waiters_max", 0)):
        with pytest.raises(ValueError, match=field):
            Room(backend, **{field: value})
    with pytest.raises(TypeError, match="store must be a StateStore"):
        Lease("payout", store=backend, signals=backend.signals)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="signals must be a SignalBus"):
        Lease("payout", store=backend.states, signals=backend)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Lease takes its name first"):
        Lease(backend.states, store=backend.states, signals=backend.signals)  # type: ignore[arg-type]
