"""An election in virtual time, under asyncio and trio."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from sdpatterns import Election
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.coordination.election import Leader, Term
from sdpatterns.core.clock import SYSTEM
from sdpatterns.errors import BackendUnavailable, LeaseLost, LeaseNotGranted
from tests.coordination.idempotency.slow_store import SlowStates

pytestmark = pytest.mark.anyio


def of(backend: MemoryBackend, candidate: str, **settings: Any) -> Election:
    settings = {"store": backend.states, "signals": backend.signals, **settings}
    return Election("relay", candidate=candidate, **settings)


async def test_one_leads_and_the_next_follows_when_it_resigns(backend: MemoryBackend) -> None:
    first, second = of(backend, "node/1"), of(backend, "node 2")
    assert await first.leader() is None
    term = await first.campaign()
    assert await second.leader() == Leader("node/1", term.fence)
    with pytest.raises(LeaseNotGranted):
        await second.campaign(max_wait_s=1.0)
    assert await first.renew(term)
    assert await first.resign(term)
    assert not await first.resign(term)
    async with second.leading() as next_term:
        assert next_term.fence > term.fence
        assert await first.leader() == Leader("node 2", next_term.fence)
    assert await first.leader() is None


async def test_a_dead_leader_is_followed_and_does_not_lead_in_between(backend: MemoryBackend) -> None:
    first, second = of(backend, "node-1"), of(backend, "node-2")
    await first.campaign()
    started = SYSTEM.monotonic()
    term = await second.campaign()
    assert SYSTEM.monotonic() - started == pytest.approx(10.0, abs=0.01)
    assert await first.leader() == Leader("node-2", term.fence)
    await anyio.sleep(10.5)
    assert await first.leader() is None


async def test_a_watch_gives_each_change(backend: MemoryBackend) -> None:
    election, seen = of(backend, "node-1"), list[Leader | None]()

    async def observe() -> None:
        async with election.watch() as changes:
            async for leader in changes:
                seen.append(leader)
                if len(seen) == 5:
                    return

    async with anyio.create_task_group() as group:
        group.start_soon(observe)
        await anyio.sleep(1.0)
        async with election.leading() as first:
            await anyio.sleep(25.0)
        await anyio.sleep(1.0)
        second = await of(backend, "node-2").campaign()  # and it dies
        await anyio.sleep(11.0)
    assert seen == [None, Leader("node-1", first.fence), None, Leader("node-2", second.fence), None]


async def test_a_watch_without_signals_looks_each_second(backend: MemoryBackend) -> None:
    class Away:
        runtime = None

        def subscribe(self, *topics: str) -> Any:
            raise BackendUnavailable("gone")

    started = SYSTEM.monotonic()
    async with of(backend, "node-1", signals=Away()).watch() as changes:
        assert await anext(changes) is None
        async with anyio.create_task_group() as group:

            async def lead() -> None:
                await anyio.sleep(3.5)
                await of(backend, "node-2").campaign()

            group.start_soon(lead)
            leader = await anext(changes)
    assert leader is not None
    assert leader.candidate == "node-2"
    assert SYSTEM.monotonic() - started == pytest.approx(4.0)


async def test_a_service_works_while_it_leads_and_hands_over_when_it_stops(backend: MemoryBackend) -> None:
    worked: list[str] = []

    def work(name: str) -> Any:
        async def relay(term: Term) -> None:
            worked.append(name)
            assert term.number > 0
            while not await term.wait(1.0):
                assert not term.is_over
            assert term.is_over
            assert await term.wait(1.0)

        return relay

    first, second = of(backend, "node-1"), of(backend, "node-2")
    async with second.service(work("helper")) as other:
        await anyio.sleep(0.1)
        async with first.service(work("late")) as service:
            await anyio.sleep(30.0)
            assert worked == ["helper"]
            other.stop()
            await anyio.sleep(0.1)
            assert worked == ["helper", "late"]
            assert (service.health.state, other.health.state) == ("running", "ended")
    assert await first.leader() is None


async def test_a_service_that_stops_while_it_stands_leaves_its_place(backend: MemoryBackend) -> None:
    first, second = of(backend, "node-1"), of(backend, "node-2")
    term = await first.campaign()

    async def never(term: Term) -> None:
        raise AssertionError("it never led")

    async with second.service(never):
        await anyio.sleep(1.0)
    await first.resign(term)
    assert await first.leader() is None


async def test_a_term_that_is_lost_ends_the_work_and_the_service_stands_again(backend: MemoryBackend) -> None:
    election, begun, cut = of(backend, "node-1"), list[int](), 0

    async def relay(term: Term) -> None:
        nonlocal cut
        begun.append(term.number)
        try:
            await anyio.sleep(1000.0)
        except BaseException:
            cut += 1
            raise

    async with election.service(relay, drain_s=0.1) as service:
        await anyio.sleep(1.0)
        await election._permits.cells.delete("")
        other = await of(backend, "node-2").campaign()
        await anyio.sleep(9.0)
        assert (len(begun), cut) == (1, 1)
        await anyio.sleep(2.0)
        assert len(begun) == 2
        assert begun[1] > other.fence
        assert service.health.is_ready


async def test_a_store_that_is_away_ends_the_term_and_not_the_service(backend: MemoryBackend) -> None:
    store, begun = SlowStates(backend), 0
    election = of(backend, "node-1", store=store)

    async def relay(term: Term) -> None:
        nonlocal begun
        begun += 1
        await anyio.sleep(1000.0)

    async def away(_name: str) -> None:
        raise BackendUnavailable("gone")

    async def here(_name: str) -> None:
        await anyio.lowlevel.checkpoint()

    async with election.service(relay, drain_s=0.1) as service:
        await anyio.sleep(1.0)
        store.before = away
        await anyio.sleep(60.0)
        assert service.health.is_ready
        store.before = here
        await anyio.sleep(15.0)
    assert begun == 2


async def test_work_that_returns_ends_the_service_and_work_that_raises_fails_it(backend: MemoryBackend) -> None:
    election = of(backend, "node-1")

    async def once(term: Term) -> None:
        await anyio.sleep(1.0)

    async def fail(term: Term) -> None:
        raise KeyError("own")

    await election.run(once)
    with pytest.raises(KeyError, match="own"):
        await election.run(fail)
    with pytest.raises(TypeError, match="would stop the event loop"):
        await election.run(lambda term: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError, match="is a function"):
        election.service(7)  # type: ignore[arg-type]
    assert await election.leader() is None


async def test_a_leader_that_lost_its_term_is_cancelled(backend: MemoryBackend) -> None:
    election = of(backend, "node-1")
    with pytest.raises(LeaseLost):  # noqa: PT012 - the whole block is cancelled
        async with election.leading():
            await election._permits.cells.delete("")
            await of(backend, "node-2").campaign()
            await anyio.sleep(60.0)


def test_an_election_says_who_stands(backend: MemoryBackend) -> None:
    assert repr(of(backend, "node-1")) == "<Election 'relay' of 'node-1' (lease 10 s)>"
    assert ":" in Election("relay", store=backend.states, signals=backend.signals).candidate
    with pytest.raises(ValueError, match="candidate"):
        of(backend, "x" * 300)
    assert of(backend, "node-1").runtime is None
