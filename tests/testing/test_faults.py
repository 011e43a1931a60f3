from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.runtime import ASYNCIO
from sdpatterns.errors import BackendUnavailable, OutcomeUnknown
from sdpatterns.ports.queue import Complete, Message, Park
from sdpatterns.ports.states import Space
from sdpatterns.testing.clock import VirtualClock
from sdpatterns.testing.contracts.steps import Add, AddMany, Put, Time
from sdpatterns.testing.faults import FAULTS, FaultPlan, FaultyClient, FaultyQueue, FaultyStates, SteppedClock
from sdpatterns.testing.loop import VirtualLoop

CALM = dict.fromkeys(FAULTS, 0.0)


class HarmlessAdd(Add):
    """Counts how often it was run, though it says that a repeat is harmless."""

    repeats = "harmless"


def play(work: Callable[[FaultyStates], Coroutine[Any, Any, Any]], *, seed: int = 0, **plan: float) -> FaultyStates:
    clock = SteppedClock()
    store = FaultyStates(
        MemoryBackend(clock=clock).states,
        chance=random.Random(seed),
        plan=FaultPlan(**{**CALM, **plan}),
        on_step=clock.step,
    )
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed=seed)) as runner:
        runner.run(work(store))
    return store


def held(store: FaultyStates) -> int:
    async def read() -> int:
        inner = store._inner.cells(Space("s", IntegersCodec()))
        return (await inner.read("a") or (0,))[0]

    return asyncio.run(read())


def test_without_faults_it_is_the_store_inside() -> None:
    async def work(store: FaultyStates) -> None:
        cells = store.cells(Space("s", IntegersCodec(), group="g"))
        assert (await cells.transact("a", Add(5)))[0] == 0
        assert await cells.transact_many(["a", "b"], AddMany(1, 2)) == [5, 0]
        assert await cells.read("a") == (6,)
        assert await cells.read_many(["b", "c"]) == [(2,), None]
        await cells.delete("a")
        assert await cells.read("a") is None

    store = play(work)
    assert not store.fired
    assert store.runtime is ASYNCIO


def test_an_unsent_step_never_happened() -> None:
    async def work(store: FaultyStates) -> None:
        with pytest.raises(BackendUnavailable):
            await store.cells(Space("s", IntegersCodec())).transact("a", Add())

    assert held(play(work, unsent=1.0)) == 0


def test_a_lost_request_of_an_unsafe_step_is_an_unknown_outcome() -> None:
    async def work(store: FaultyStates) -> None:
        with pytest.raises(OutcomeUnknown):
            await store.cells(Space("s", IntegersCodec())).transact("a", Add())

    assert held(play(work, lost_before=1.0)) == 0


def test_a_lost_reply_of_an_unsafe_step_is_an_unknown_outcome_and_the_step_happened_once() -> None:
    async def work(store: FaultyStates) -> None:
        with pytest.raises(OutcomeUnknown):
            await store.cells(Space("s", IntegersCodec())).transact("a", Add())

    assert held(play(work, lost_after=1.0)) == 1


def test_a_harmless_step_is_sent_again_a_few_times() -> None:
    async def work(store: FaultyStates) -> None:
        with pytest.raises(OutcomeUnknown):
            await store.cells(Space("s", IntegersCodec())).transact("a", HarmlessAdd())

    assert held(play(work, lost_after=1.0)) == 4


def test_a_harmless_step_gets_through_and_may_have_happened_twice() -> None:
    async def work(store: FaultyStates) -> None:
        cells = store.cells(Space("s", IntegersCodec()))
        for _ in range(20):
            await cells.transact("a", HarmlessAdd())

    assert held(play(work, seed=3, lost_after=0.2)) > 20


def test_a_late_copy_arrives_after_steps_that_came_later() -> None:
    async def work(store: FaultyStates) -> None:
        cells = store.cells(Space("s", IntegersCodec()))
        await cells.transact("a", Put((1,)))
        store.calm()
        await cells.transact("a", Put((2,)))
        assert await cells.read("a") == (2,)
        await asyncio.sleep(60.0)
        assert await cells.read("a") == (1,)
        await cells.transact("a", Put((3,)))
        assert await cells.read("a") == (3,)

    assert play(work, copied=1.0).fired == {"copied": 1}


def test_an_unsafe_step_is_never_copied() -> None:
    async def work(store: FaultyStates) -> None:
        cells = store.cells(Space("s", IntegersCodec()))
        for _ in range(10):
            await cells.transact("a", Add())
            await asyncio.sleep(60.0)

    assert held(play(work, copied=1.0)) == 10


def test_a_store_that_is_away_comes_back() -> None:
    async def work(store: FaultyStates) -> None:
        cells = store.cells(Space("s", IntegersCodec()))
        with pytest.raises(BackendUnavailable):
            await cells.transact("a", Add())
        store.calm()
        with pytest.raises(BackendUnavailable):
            await store.another().cells(Space("s", IntegersCodec())).transact("a", Add())
        await asyncio.sleep(5.0)
        await cells.transact("a", Add())

    assert held(play(work, away=1.0)) == 1


def test_a_parted_client_is_alone_with_it() -> None:
    async def work(store: FaultyStates) -> None:
        with pytest.raises(BackendUnavailable):
            await store.cells(Space("s", IntegersCodec())).transact("a", Add())
        store.calm()
        await store.another().cells(Space("s", IntegersCodec())).transact("a", Add())
        with pytest.raises(BackendUnavailable):
            await store.cells(Space("s", IntegersCodec())).transact("a", Add())

    assert held(play(work, parted=1.0)) == 1


def test_a_dead_client_reaches_nothing_any_more() -> None:
    async def work(store: FaultyStates) -> None:
        other = store.another()
        store.cut()
        await asyncio.sleep(1e6)
        with pytest.raises(BackendUnavailable):
            await store.cells(Space("s", IntegersCodec())).read("a")
        await other.cells(Space("s", IntegersCodec())).transact("a", Add())

    assert held(play(work)) == 1


def test_delays_take_virtual_time_on_both_ways() -> None:
    async def work(store: FaultyStates) -> None:
        loop = asyncio.get_running_loop()
        before = loop.time()
        await store.cells(Space("s", IntegersCodec())).transact("a", Add())
        assert 0 < loop.time() - before <= 1.0

    assert play(work, delayed=1.0).fired == {"delayed": 2}


def test_the_stores_clock_jumps_but_never_back() -> None:
    seen: list[int] = []

    async def work(store: FaultyStates) -> None:
        cells = store.cells(Space("s", IntegersCodec()))
        for _ in range(50):
            seen.append(await cells.transact("a", Time()))
            await asyncio.sleep(1.0)

    play(work, stepped=0.3)
    steps = [after - before for before, after in itertools.pairwise(seen)]
    assert min(steps) == 0
    assert max(steps) > 1_000_000


def test_one_seed_is_one_history() -> None:
    async def work(store: FaultyStates) -> None:
        cells = store.cells(Space("s", IntegersCodec()))

        async def job() -> None:
            try:
                seen.append(await cells.transact("a", Add()))
            except (BackendUnavailable, OutcomeUnknown) as error:
                seen.append(type(error))

        await asyncio.gather(*(job() for _ in range(50)))

    histories = []
    for seed in (1, 1, 2):
        seen: list[Any] = []
        store = play(work, seed=seed, delayed=0.3, unsent=0.1, lost_before=0.1, lost_after=0.1, stepped=0.1)
        histories.append((seen, store.fired))
    assert histories[0] == histories[1] != histories[2]


def test_bad_plans_are_refused() -> None:
    with pytest.raises(ValueError, match="lost_after"):
        FaultPlan(lost_after=1.5)
    with pytest.raises(ValueError, match="on_step"):
        FaultyStates(MemoryBackend().states, chance=random.Random(0), plan=FaultPlan(stepped=0.1))
    assert FaultPlan(**{**CALM, "away": 0.1}).possible() == ["away"]


def test_a_counter_may_be_shared() -> None:
    fired: Counter[str] = Counter()
    with VirtualClock():
        store = FaultyStates(MemoryBackend().states, chance=random.Random(0), plan=FaultPlan(unsent=1.0), fired=fired)

        async def work() -> None:
            with pytest.raises(BackendUnavailable):
                await store.cells(Space("s", IntegersCodec())).read("a")

        asyncio.run(work())
    assert fired["unsent"] == 1


def play_queue(work: Callable[[FaultyQueue], Coroutine[Any, Any, Any]], *, seed: int = 0, **plan: float) -> FaultyQueue:
    clock = SteppedClock()
    client = FaultyClient(chance=random.Random(seed), plan=FaultPlan(**{**CALM, **plan}), on_step=clock.step)
    queue = FaultyQueue(MemoryBackend(clock=clock).queue("jobs"), client)
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed=seed)) as runner:
        runner.run(work(queue))
    return queue


def depth(queue: FaultyQueue) -> tuple[int, ...]:
    return asyncio.run(queue._inner.depth())[:4]


MAIL = Message(id="a", payload=b"hello")


def test_without_faults_it_is_the_queue_inside() -> None:
    async def work(queue: FaultyQueue) -> None:
        assert await queue.publish([MAIL, Message(id="b", payload=b"")]) == [True, True]
        first, second = (await queue.claim(5, 30.0)).messages
        assert await queue.extend([first], 30.0) == [True]
        assert await queue.settle([Complete(first), Park(second, "broken")]) == [True, True]
        assert [letter.id for letter in await queue.parked(10)] == ["b"]
        assert await queue.redrive(["b"]) == [True]
        assert await queue.withdraw(["b"]) == [True]
        assert await queue.discard(["b"]) == [False]
        assert (await queue.depth())[:4] == (0, 0, 0, 0)
        assert (queue.name, queue.topic, queue.runtime) == ("jobs", "queue/jobs", ASYNCIO)
        assert "fence" in queue.capabilities

    assert not play_queue(work).client.fired


def test_an_unsent_publish_never_happened() -> None:
    async def work(queue: FaultyQueue) -> None:
        with pytest.raises(BackendUnavailable):
            await queue.publish([MAIL])

    assert depth(play_queue(work, unsent=1.0)) == (0, 0, 0, 0)


def test_a_publish_whose_reply_is_lost_is_repeated_and_there_once() -> None:
    async def work(queue: FaultyQueue) -> None:
        with pytest.raises(OutcomeUnknown):
            await queue.publish([MAIL])

    queue = play_queue(work, lost_after=1.0)
    assert queue.client.fired == {"lost_after": 4}
    assert depth(queue) == (1, 0, 0, 0)


def test_a_claim_whose_reply_is_lost_is_not_repeated_and_leaves_leases() -> None:
    async def work(queue: FaultyQueue) -> None:
        await queue._inner.publish([MAIL, Message(id="b", payload=b"")])
        with pytest.raises(OutcomeUnknown):
            await queue.claim(1, 30.0)
        assert (await queue._inner.depth())[:4] == (1, 0, 1, 0)

    assert play_queue(work, lost_after=1.0).client.fired == {"lost_after": 1}


def test_a_late_copy_publishes_once_more_what_was_completed() -> None:
    async def work(queue: FaultyQueue) -> None:
        await queue.publish([MAIL])
        queue.client.calm()
        await queue.settle([Complete(claimed) for claimed in (await queue.claim(1, 30.0)).messages])
        assert (await queue.depth())[:4] == (0, 0, 0, 0)
        await asyncio.sleep(60.0)
        assert (await queue.depth())[:4] == (1, 0, 0, 0)

    assert play_queue(work, copied=1.0).client.fired == {"copied": 1}


def test_a_client_that_is_cut_off_reaches_its_queue_no_more() -> None:
    async def work(queue: FaultyQueue) -> None:
        queue.client.cut()
        with pytest.raises(BackendUnavailable):
            await queue.depth()
        assert await queue.another().publish([MAIL]) == [True]

    play_queue(work)


def test_a_queue_and_cells_may_be_reached_by_one_client() -> None:
    async def work(store: FaultyStates) -> None:
        queue = FaultyQueue(MemoryBackend().queue("jobs"), store)
        store.cut()
        with pytest.raises(BackendUnavailable):
            await queue.publish([MAIL])

    play(work)
