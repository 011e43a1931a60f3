"""The judges of lease, semaphore and election are seen to find work that outlives its lease."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sdpatterns.coordination.lease import Lease
from sdpatterns.core.heartbeat import Heartbeat
from sdpatterns.testing.simulation import Node, Run, World
from sdpatterns.testing.simulation.atwork import AtWork
from sdpatterns.testing.simulation.election import ElectionWorld
from sdpatterns.testing.simulation.lease import LeaseWorld
from sdpatterns.testing.simulation.lines import LineJudge
from sdpatterns.testing.simulation.semaphore import SemaphoreWorld
from tests.simulation.test_judges import complaints
from tests.simulation.test_nodes import CALM, played

ENDED = "after its lease had ended"


@pytest.mark.unmeasured
@pytest.mark.parametrize("world", [LeaseWorld(), SemaphoreWorld(), ElectionWorld()], ids=lambda world: world.name)
def test_a_holder_that_never_renews_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def deaf(self: Any, stop: Any) -> None:
        await stop.wait(None)

    monkeypatch.setattr(Heartbeat, "_beat", deaf)
    assert complaints(world, ENDED, seeds=20)


def judged(*, is_still: bool, seconds: float) -> tuple[str, ...]:
    """What is said of work for so long under a lease of a second, which is renewed before the work ends."""

    async def story(run: Run) -> None:
        judge = LineJudge(run, slots=1)
        cluster = run.cluster(nodes=1, trouble=CALM, tell=judge.tell)
        at_work = AtWork(cluster, judge, 1.0)
        [node] = cluster.nodes

        async def program(node: Node) -> None:
            lease = Lease("x", store=node.states, signals=node.signals, lease_s=1.0, callers=node.ids)
            held = (await lease.acquire("k")).permit
            assert held is not None
            piece = at_work.begin("k", held.who, held.fence, node)
            await asyncio.sleep(seconds)
            await lease.renew(held)
            at_work.end("k", piece)
            run.note("ended")

        cluster.start(program)
        await asyncio.sleep(0.1)
        if is_still:
            node.stand_still()
            await asyncio.sleep(seconds + 5.0)
            node.go_on()
        await asyncio.sleep(seconds + 1.0)
        assert run.counts["ended"]

    return played(story).violations


def test_work_that_went_on_while_its_lease_was_over_is_found_though_the_lease_moves_on_later() -> None:
    assert judged(is_still=False, seconds=0.9) == ()
    assert judged(is_still=False, seconds=1.5) == (f"n1#2~1 was at work on 'k' for 500000 µs {ENDED}",)


def test_a_node_that_stood_still_may_end_its_work_at_once_when_it_goes_on() -> None:
    assert judged(is_still=True, seconds=1.5) == ()
