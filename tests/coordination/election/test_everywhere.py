"""The same election on real stores, in a loop and in threads."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from sdpatterns import Election
from sdpatterns.blocking import blocking
from sdpatterns.coordination.election import Leader
from tests.backends.everywhere import each_backend, each_blocking_backend, unique

backend = each_backend
blocking_backend = each_blocking_backend


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_candidates_lead_one_after_another_and_are_watched(backend: Any) -> None:
    name, terms, seen = unique("relay"), list[int](), list[str]()
    nodes = [
        Election(name, store=backend.states, signals=backend.signals, candidate=f"node-{number}", lease_s=60.0)
        for number in range(4)
    ]
    ready, last_seen = asyncio.Event(), asyncio.Event()

    async def observe() -> None:
        async with nodes[0].watch() as changes:
            async for leader in changes:
                ready.set()
                if leader is not None:
                    seen.append(leader.candidate)
                if leader is not None and leader.candidate == "node-3":
                    last_seen.set()
                    return

    async def lead(number: int) -> None:
        async with nodes[number].leading(max_wait_s=60.0) as term:
            assert await nodes[0].leader() == Leader(f"node-{number}", term.fence)
            terms.append(term.fence)
            if number == 3:
                await last_seen.wait()

    observer = asyncio.create_task(observe())
    await ready.wait()
    await asyncio.gather(*(lead(number) for number in range(4)))
    await observer
    assert terms == sorted(set(terms))
    assert seen == sorted(set(seen)), "each leader once, in order; those that were quick may be missed"


def test_a_service_leads_in_a_thread(blocking_backend: Any) -> None:
    states, signals = blocking_backend.states, blocking_backend.signals
    election = blocking(Election(unique("relay"), store=states, signals=signals, candidate="node-1", lease_s=3.0))
    worked, led = threading.Event(), list[int]()

    def relay(term: Any) -> None:
        led.append(term.number)
        while not term.wait(0.01):
            worked.set()

    with election.service(relay):
        assert worked.wait(60.0)
        assert election.leader() == Leader("node-1", led[0])
    assert election.leader() is None

    def once(term: Any) -> None:
        led.append(term.number)

    election.run(once)
    assert led == sorted(set(led))
    assert len(led) == 2
