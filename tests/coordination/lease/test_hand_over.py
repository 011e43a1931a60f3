"""Callers of one process that follow one another under one lease, in virtual time, under asyncio and trio."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, Self

import anyio
import pytest

from sdpatterns import Lease, Semaphore
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.coordination.lease import Held
from sdpatterns.coordination.lease.line import Line
from sdpatterns.coordination.lease.waiting import _PROCESS, next_caller, next_cohort
from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.runtime import ASYNCIO, Runtime
from sdpatterns.errors import BackendUnavailable, LeaseLost, LeaseNotGranted
from sdpatterns.ports.engine.steps import Drop, PendingStep
from sdpatterns.ports.signals import SignalBus, Subscription
from sdpatterns.ports.states import Cells, Space

pytestmark = pytest.mark.anyio

TRIP_S = 0.1


class Store:
    """Memory, a trip away. A test may hold up a step on its way, or its answer."""

    runtime: Runtime | None = ASYNCIO

    def __init__(self, backend: MemoryBackend) -> None:
        self.inner = backend.states
        self.clock = backend.states.clock
        self.steps: list[str] = []
        self.before: Callable[[Any], Awaitable[None]] = self.trip
        self.after: Callable[[Any], Awaitable[None]] | None = None

    async def trip(self, _step: Any) -> None:
        await anyio.sleep(TRIP_S)

    def cells(self, space: Space[Any], /) -> Cells[Any]:
        inner = self.inner.cells(space)

        async def run(step: PendingStep) -> Any:
            if step.reads or isinstance(step.transition, Drop):
                return await inner.run(step)
            self.steps.append(type(step.transition).__name__)
            await self.before(step.transition)
            answer = await inner.run(step)
            if self.after is not None:
                await self.after(step.transition)
            return answer

        return Cells(space, run)


def ids(process: str) -> Callable[[], str]:
    count = itertools.count()
    return lambda: f"{process}#{next(count):x}"


class Row:
    """Callers of one key, of one process or of several, that come one after another."""

    def __init__(self, backend: MemoryBackend, signals: SignalBus | None = None) -> None:
        self.store = Store(backend)
        self.signals = signals or backend.signals
        self.lease = self.process("p")
        self.began: list[tuple[str, float, int]] = []
        self.ended_s: dict[str, float] = {}
        self.ended: dict[str, anyio.Event] = defaultdict(anyio.Event)
        self.inside: set[str] = set()
        self.held: dict[str, Held] = {}
        self.failed: dict[str, Exception] = {}

    def process(self, name: str, callers: Callable[[], str] | None = None) -> Lease:
        """The lease, as a process of that name has it."""
        return Lease("payout", store=self.store, signals=self.signals, callers=callers or ids(name))

    async def visit(self, name: str, lease: Lease | None = None, lasts_s: float = 1.0) -> None:
        try:
            async with (lease or self.lease).guard("k") as held:
                assert not self.inside, f"{name} is beside {self.inside}"
                self.inside.add(name)
                self.held[name] = held
                self.began.append((name, SYSTEM.monotonic(), held.fence))
                try:
                    await anyio.sleep(lasts_s)
                finally:
                    self.inside.remove(name)
                    self.ended_s[name] = SYSTEM.monotonic()
                    self.ended[name].set()
        except LeaseLost as lost:
            self.failed[name] = lost

    async def come(self, group: Any, *visits: tuple[Any, ...]) -> None:
        """In this order."""
        for words in visits:
            group.start_soon(self.visit, *words)
            await anyio.sleep(3 * TRIP_S)

    @property
    def order(self) -> list[str]:
        return [name for name, _, _ in self.began]

    def gap_s(self, name: str) -> float:
        """How long it was free before this one."""
        place = self.order.index(name)
        return round(self.began[place][1] - self.ended_s[self.order[place - 1]], 3)

    def fences_grow(self) -> bool:
        fences = [fence for _, _, fence in self.began]
        return fences == sorted(set(fences))

    async def line(self) -> Line:
        return await self.lease._permits.cells.read("k") or Line()

    async def is_free(self) -> bool:
        line = await self.line()
        return not (line.holders or line.queue)


@pytest.fixture
def row(backend: MemoryBackend) -> Row:
    return Row(backend)


async def test_those_that_stand_behind_follow_without_a_step(row: Row) -> None:
    async with anyio.create_task_group() as group:
        await row.come(group, ("a",), ("b",), ("c",), ("d",))
    assert row.order == ["a", "b", "c", "d"]
    # The first release asks the store who follows, and learns who stands behind.
    assert [row.gap_s(name) for name in "bcd"] == [TRIP_S, 0.0, 0.0]
    assert row.fences_grow()
    assert row.store.steps.count("Leave") == 2
    assert await row.is_free()


async def test_a_caller_of_another_process_is_not_passed(row: Row) -> None:
    other = row.process("q")
    async with anyio.create_task_group() as group:
        await row.come(group, ("a",), ("b",), ("c",), ("x", other), ("d",), ("e",), ("f",))
    assert row.order == ["a", "b", "c", "x", "d", "e", "f"]
    assert row.gap_s("c") == 0.0
    assert row.gap_s("x") > 0.0
    assert row.fences_grow()
    assert await row.is_free()


async def test_a_caller_of_another_object_of_the_same_process_is_not_passed(row: Row) -> None:
    shared = ids("p")
    one, other = row.process("p", shared), row.process("p", shared)
    async with anyio.create_task_group() as group:
        await row.come(group, ("a", one), ("b", one), ("x", other), ("c", one), ("d", one))
    assert row.order == ["a", "b", "x", "c", "d"]
    assert row.fences_grow()


async def test_many_short_holds_need_one_step_for_sixteen(row: Row) -> None:
    async with anyio.create_task_group() as group:
        for number in range(60):
            group.start_soon(row.visit, str(number), None, 0.01)
            await anyio.sleep(0.001)
    assert row.order == [str(number) for number in range(60)]
    assert row.store.steps.count("Leave") <= 6
    assert row.store.steps.count("RenewLease") == 0
    assert row.fences_grow()
    assert await row.is_free()


async def test_long_work_under_the_lease_of_another_keeps_it(row: Row) -> None:
    async with anyio.create_task_group() as group:
        await row.come(group, ("a",), ("b",), ("c", None, 30.0), ("d",))
        await anyio.sleep(20.0)
        # What has been served is in the line no more, so that after a crash no caller waits for it.
        assert [place.who for place in (await row.line()).queue] == ["p#4~0"]
    assert row.order == ["a", "b", "c", "d"]
    assert [row.gap_s(name) for name in "cd"] == [0.0, 0.0]
    assert not row.failed


async def test_one_that_follows_can_renew_and_release_by_hand(row: Row) -> None:
    done: list[bool] = []

    async def by_hand() -> None:
        held = await row.lease.wait("k")
        done.append(await row.lease.renew(held))
        done.append(await row.lease.release(held))
        done.append(await row.lease.release(held))

    async with anyio.create_task_group() as group:
        await row.come(group, ("a",), ("b",))
        group.start_soon(by_hand)
        await anyio.sleep(3 * TRIP_S)
        await row.come(group, ("d",))
    assert done == [True, True, False]
    assert row.order == ["a", "b", "d"]
    assert await row.is_free()


async def test_a_lease_that_is_nearly_over_is_not_handed_on(row: Row) -> None:
    held: list[Held] = []

    async def by_hand() -> None:
        held.append(await row.lease.wait("k"))

    async with anyio.create_task_group() as group:
        await row.come(group, ("a",))
        group.start_soon(by_hand)
        await anyio.sleep(3 * TRIP_S)
        await row.come(group, ("c",))
        await anyio.sleep(5.0)
        assert held[0].left_s < 10.0 * 2 / 3
        await row.lease.release(held[0])
    assert row.order == ["a", "c"]
    assert row.held["c"].cohort is not held[0].cohort
    assert not row.failed


async def test_those_that_gave_up_are_left_out(row: Row) -> None:
    scope = anyio.CancelScope()

    async def gives_up() -> None:
        with scope:
            await row.visit("c")

    async with anyio.create_task_group() as group:
        await row.come(group, ("a",), ("b",))
        group.start_soon(gives_up)
        await anyio.sleep(3 * TRIP_S)
        await row.come(group, ("d",))
        scope.cancel()
    assert row.order == ["a", "b", "d"]
    assert row.gap_s("d") == 0.0
    assert await row.is_free()


async def test_one_whose_time_is_up_at_its_turn_lets_the_next_one_follow(row: Row) -> None:
    async def waits(lasts_s: float) -> None:
        with anyio.move_on_after(lasts_s):
            await row.visit("c")

    ends_s = 0.0

    async def when_b_ends() -> None:
        nonlocal ends_s
        await row.ended["b"].wait()
        ends_s = SYSTEM.monotonic()

    began_s = SYSTEM.monotonic()
    async with anyio.create_task_group() as group:
        group.start_soon(when_b_ends)
        await row.come(group, ("a",), ("b",), ("c",), ("d",))
    again_s = ends_s - began_s
    for early_s in (-0.001, 0.0, 0.001):
        row.began.clear()
        async with anyio.create_task_group() as group:
            await row.come(group, ("a",), ("b",))
            group.start_soon(waits, again_s - 6 * TRIP_S + early_s)
            await anyio.sleep(3 * TRIP_S)
            await row.come(group, ("d",))
        assert [name for name in row.order if name != "c"] == ["a", "b", "d"]
        assert not row.failed
        assert await row.is_free()


@pytest.mark.parametrize("after_s", [0.0, TRIP_S / 2, 2 * TRIP_S])
@pytest.mark.parametrize("victim", ["b", "c", "d"])
async def test_one_that_is_cancelled_around_a_hand_over_leaves_nothing(row: Row, victim: str, after_s: float) -> None:
    scope = anyio.CancelScope()

    async def cancelled(name: str) -> None:
        with scope:
            await row.visit(name)

    async def cancel() -> None:
        await row.ended["b"].wait()
        await anyio.sleep(after_s)
        scope.cancel()

    async with anyio.create_task_group() as group:
        for name in "abcde":
            group.start_soon(cancelled if name == victim else row.visit, name)
            await anyio.sleep(3 * TRIP_S)
        group.start_soon(cancel)
    # At the very moment of its turn it may be cancelled before it begins.
    assert [name for name in row.order if name != victim] == [name for name in "abcde" if name != victim]
    assert row.fences_grow()
    assert not row.failed
    assert await row.is_free()


async def test_a_lease_that_is_lost_ends_the_work_of_the_one_that_follows(row: Row) -> None:
    async with anyio.create_task_group() as group:
        await row.come(group, ("a",), ("b",), ("c", None, 60.0), ("d",))
        await row.ended["b"].wait()
        await anyio.sleep(0.5)
        await row.lease._permits.cells.delete("k")
        thief = row.process("q")
        stolen = (await thief.acquire("k")).permit
        assert stolen is not None
        await anyio.sleep(4.0)
        assert row.failed.keys() == {"c"}
        await thief.release(stolen)
    assert row.order == ["a", "b", "c", "d"]


async def test_a_store_that_is_away_when_the_last_one_ends_costs_a_lease(row: Row) -> None:
    other = row.process("q")

    async def away(step: Any) -> None:
        await anyio.sleep(TRIP_S)
        if type(step).__name__ == "Leave" and step.who.startswith("p") and "c" in row.ended_s:
            raise BackendUnavailable("gone")

    row.store.before = away
    async with anyio.create_task_group() as group:
        await row.come(group, ("a",), ("b",), ("c", None, 5.0), ("y", other))
    assert row.order == ["a", "b", "c", "y"]
    assert not row.failed
    assert row.gap_s("y") <= 10.0


class Quiet:
    """A bus whose subscriptions cannot be woken from within; entering that of `slow` takes a while."""

    runtime: Runtime | None = None

    def __init__(self, inner: SignalBus, slow: str = "", *, wakes: bool = False) -> None:
        self.inner = inner
        self.slow = slow
        self.wakes = wakes

    async def notify(self, *topics: str) -> None:
        await self.inner.notify(*topics)

    def subscribe(self, *topics: str) -> Subscription:
        return _Quiet(self, self.inner.subscribe(*topics), is_slow=topics[0] == self.slow)


class _Quiet:
    def __init__(self, bus: Quiet, inner: Any, *, is_slow: bool) -> None:
        self.inner = inner
        self.is_slow = is_slow
        if bus.wakes:
            self.wake = inner.wake

    async def __aenter__(self) -> Self:
        if self.is_slow:
            await anyio.sleep(3.0)
        await self.inner.__aenter__()
        return self

    async def __aexit__(self, *how: object) -> None:
        await self.inner.__aexit__(*how)

    async def wait(self, timeout_s: float | None = None, /) -> bool:
        found: bool = await self.inner.wait(timeout_s)
        return found


async def test_on_a_bus_that_wakes_no_waiter_from_within_a_signal_does(backend: MemoryBackend) -> None:
    row = Row(backend, Quiet(backend.signals))
    async with anyio.create_task_group() as group:
        await row.come(group, ("a",), ("b",), ("c",), ("d",))
    assert [row.gap_s(name) <= 2 * TRIP_S for name in "bcd"] == [True] * 3


async def test_one_whose_turn_comes_while_it_subscribes_does_not_sleep(backend: MemoryBackend) -> None:
    row = Row(backend, Quiet(backend.signals, "inbox/p#3~0", wakes=True))
    async with anyio.create_task_group() as group:
        group.start_soon(row.visit, "a", None, 2.0)
        await anyio.sleep(3 * TRIP_S)
        # Both ask before one of them has subscribed.
        group.start_soon(row.visit, "b", None, 0.5)
        await anyio.sleep(0.01)
        group.start_soon(row.visit, "c", None, 0.5)
    assert row.order == ["a", "b", "c"]
    # It is subscribed 3 s after it came, and then asks.
    assert row.gap_s("c") < 1.0


async def test_one_that_seemed_dead_keeps_its_turn_and_works_alone(row: Row) -> None:
    """The answer to a look of `c` takes so long that its place is passed over meanwhile."""
    other = row.process("q")
    slow: list[float] = []

    async def after(step: Any) -> None:
        if type(step).__name__ == "Ask" and step.who == "p#3~0" and SYSTEM.monotonic() - began_s > 3.0 and not slow:
            slow.append(SYSTEM.monotonic())
            await anyio.sleep(8.0)

    row.store.after = after
    began_s = SYSTEM.monotonic()
    async with anyio.create_task_group() as group:
        await row.come(group, ("a", None, 2.0), ("b", None, 12.9), ("c", None, 2.0))
        await anyio.sleep(14.15 - (SYSTEM.monotonic() - began_s))
        await row.come(group, ("y", other, 2.0))
    assert slow
    assert row.order == ["a", "b", "c", "y"]
    assert not row.failed
    assert await row.is_free()


async def test_one_that_the_store_gave_a_lease_of_its_own_has_that(row: Row) -> None:
    """The look of `c` is slow on its way, and the lease of `b` is over when it arrives."""
    other = row.process("q")
    slow: list[str] = []
    began_s = SYSTEM.monotonic()

    async def before(step: Any) -> None:
        now_s = SYSTEM.monotonic() - began_s
        if type(step).__name__ == "Ask" and step.who == "p#3~0" and now_s > 3.5 and not slow:
            slow.append(step.who)
            await anyio.sleep(13.5 - now_s)
        else:
            await anyio.sleep(TRIP_S)

    row.store.before = before
    async with anyio.create_task_group() as group:
        await row.come(group, ("a", None, 3.0), ("b", None, 1.2), ("c", None, 8.0))
        await anyio.sleep(13.6 - (SYSTEM.monotonic() - began_s))
        await row.come(group, ("y", other, 4.0))
    assert slow
    assert row.order == ["a", "b", "c", "y"]
    assert not row.failed
    assert row.fences_grow()
    assert await row.is_free()


async def test_an_answer_that_comes_after_the_lease_takes_no_later_lease_away(row: Row) -> None:
    """The store gave `c` the key twice: in the release of `b`, whose answer is late, and in a look of its own."""
    other = row.process("q")
    late: list[str] = []

    async def before(step: Any) -> None:
        if type(step).__name__ == "Ask" and step.who == "p#2~0" and "b" in row.ended_s and not late:
            late.append(step.who)
            await anyio.sleep(row.ended_s["b"] + 11.5 - SYSTEM.monotonic())
        else:
            await anyio.sleep(TRIP_S)

    async def after(step: Any) -> None:
        if type(step).__name__ == "Leave" and step.who == "p#1~0":
            await anyio.sleep(11.0)

    row.store.before, row.store.after = before, after
    async with anyio.create_task_group() as group:
        await row.come(group, ("b", None, 2.0), ("c", None, 3.0))
        await anyio.sleep(13.5)
        await row.come(group, ("y", other))
    assert late
    assert row.order == ["b", "c", "y"]
    assert not row.failed
    assert await row.is_free()


async def test_a_semaphore_of_one_that_is_enlarged_meanwhile_gives_out_two(backend: MemoryBackend) -> None:
    row = Row(backend)
    small = Semaphore("gate", permits=1, store=row.store, signals=row.signals, callers=ids("p"))
    large = Semaphore("gate", permits=2, store=row.store, signals=row.signals, callers=ids("q"))
    most, inside = 0, 0

    async def visit(gate: Semaphore) -> None:
        nonlocal most, inside
        async with gate.guard("k"):
            inside += 1
            most = max(most, inside)
            await anyio.sleep(2.0)
            inside -= 1

    async with anyio.create_task_group() as group:
        for gate in (small, small, small, large, large):
            group.start_soon(visit, gate)
            await anyio.sleep(3 * TRIP_S)
    assert most == 2


async def test_no_caller_follows_under_a_lease_whose_renewal_was_refused(row: Row) -> None:
    done: list[bool] = []

    async def by_hand() -> None:
        held = await row.lease.wait("k")
        await row.lease._permits.cells.delete("k")
        thief = (await row.process("q").acquire("k")).permit
        assert thief is not None
        done.append(await row.lease.renew(held))
        done.append(await row.lease.release(held))
        assert row.order == ["a"]
        await row.process("q").release(thief)

    async with anyio.create_task_group() as group:
        await row.come(group, ("a",))
        group.start_soon(by_hand)
        await anyio.sleep(3 * TRIP_S)
        await row.come(group, ("c",), ("d",))
    assert done == [False, False]
    assert sorted(row.order) == ["a", "c", "d"]


async def test_what_was_released_is_not_renewed_for_the_one_that_follows(row: Row) -> None:
    renewed: list[bool] = []

    async def by_hand() -> None:
        held = await row.lease.wait("k")
        await row.lease.release(held)
        renewed.append(await row.lease.renew(held))

    async with anyio.create_task_group() as group:
        await row.come(group, ("a",))
        group.start_soon(by_hand)
        await anyio.sleep(3 * TRIP_S)
        await row.come(group, ("c",))
    assert renewed == [False]


async def test_those_that_have_followed_leave_room_in_the_line(backend: MemoryBackend) -> None:
    row = Row(backend)
    lease = Lease(
        "payout", store=row.store, signals=row.signals, callers=ids("p"), waiters_max=2, wait_max_s=60.0
    )  # fmt: skip
    async with anyio.create_task_group() as group:
        await row.come(group, ("a", lease, 1.0), ("b", lease, 0.2), ("c", lease, 2.5))
        await row.ended["b"].wait()
        await row.come(group, ("d", lease), ("e", lease))
        with pytest.raises(LeaseNotGranted):
            await lease.wait("k")
    assert row.order == ["a", "b", "c", "d", "e"]


async def test_one_that_seems_dead_holds_up_none_behind_it(row: Row) -> None:
    """The answer to a look of `c` takes so long that its place is over when `b` ends."""

    slow: list[str] = []

    async def after(step: Any) -> None:
        now_s = SYSTEM.monotonic() - began_s
        if type(step).__name__ == "Ask" and step.who == "p#3~0" and now_s > 3.0 and not slow:
            slow.append(step.who)
            await anyio.sleep(14.0)

    row.store.after = after
    began_s = SYSTEM.monotonic()
    async with anyio.create_task_group() as group:
        await row.come(group, ("a", None, 15.0), ("b", None, 1.0), ("c", None, 1.0), ("d", None, 1.0))
    assert row.order.index("d") < row.order.index("c")
    assert row.gap_s("d") < 1.0


async def test_one_that_is_cancelled_with_a_lease_of_its_own_gives_it_back(row: Row) -> None:
    """The look of `c` is slow on its way; the store gives it the lease, and it is cancelled before the answer comes."""
    other = row.process("q")
    scope = anyio.CancelScope()
    slow: list[str] = []
    began_s = SYSTEM.monotonic()

    async def before(step: Any) -> None:
        now_s = SYSTEM.monotonic() - began_s
        if type(step).__name__ == "Ask" and step.who == "p#3~0" and now_s > 3.5 and not slow:
            slow.append(step.who)
            await anyio.sleep(13.5 - now_s)
        else:
            await anyio.sleep(TRIP_S)

    async def after(step: Any) -> None:
        if type(step).__name__ == "Ask" and step.who == "p#3~0" and slow:
            await anyio.sleep(0.5)

    async def gives_up() -> None:
        with scope:
            await row.visit("c", None, 8.0)

    row.store.before, row.store.after = before, after
    async with anyio.create_task_group() as group:
        await row.come(group, ("a", None, 3.0), ("b", None, 1.2))
        group.start_soon(gives_up)
        await anyio.sleep(13.8 - (SYSTEM.monotonic() - began_s))
        scope.cancel()
        await row.come(group, ("y", other, 1.0))
    assert slow
    assert row.order == ["a", "b", "y"]
    assert row.began[-1][1] - began_s < 16.0
    assert await row.is_free()


def test_objects_before_and_after_a_fork_are_no_cohort() -> None:
    before = next_cohort(next_caller)
    _PROCESS.after_fork_in_child()
    assert next_cohort(next_caller) != before
