"""Nodes crash, stand still and lose each other as machines do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sdpatterns.core.clock import SYSTEM
from sdpatterns.core.runtime import Waiter
from sdpatterns.core.service import Service
from sdpatterns.errors import BackendError, OutcomeUnknown
from sdpatterns.testing.faults import FaultPlan
from sdpatterns.testing.simulation import Cluster, Node, Outcome, Run, Trouble, simulate
from sdpatterns.testing.simulation.__main__ import main
from sdpatterns.testing.simulation.shrink import shrink

CALM = Trouble(
    network=FaultPlan(delayed=0, unsent=0, lost_before=0, lost_after=0, copied=0, away=0, parted=0),
    unheard=0,
    crashed=0,
    paused=0,
    moved=0,
)


def played(story: Callable[[Run], Awaitable[None]], seed: int = 1, only: frozenset[str] | None = None) -> Outcome:
    class Told:
        name = "told"
        sometimes = ()

        async def play(self, run: Run) -> None:
            await story(run)

    return simulate(Told(), seed, only)


def test_a_crash_runs_no_finally_and_the_program_starts_again() -> None:
    said: list[str] = []

    async def program(node: Node) -> None:
        said.append(f"start {node.life is not None}")
        try:
            await asyncio.sleep(10.0)
            said.append("slept")
        finally:
            said.append("finally")

    async def story(run: Run) -> None:
        cluster = run.cluster(nodes=1, trouble=CALM)
        cluster.start(program)
        await asyncio.sleep(5.0)
        cluster.nodes[0].crash()
        await asyncio.sleep(60.0)
        assert said == ["start True"]
        cluster.heal()
        await asyncio.sleep(60.0)
        assert said == ["start True", "start True", "slept", "finally"]

    assert played(story).violations == ()
    # When all is judged the first life is cancelled, so that nothing is left behind.
    assert said[4:] == ["finally"]


def test_a_node_that_stands_still_does_all_of_it_later() -> None:
    done: list[tuple[str, float]] = []

    async def story(run: Run) -> None:
        began_us = run.now_us()

        async def one(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            done.append((name, (run.now_us() - began_us) / 1e6))

        async def program(node: Node) -> None:
            await asyncio.gather(one("b", 3.0), one("a", 2.0), one("c", 8.0))

        cluster = run.cluster(nodes=2, trouble=CALM)
        cluster.start(program)
        await asyncio.sleep(1.0)
        cluster.nodes[0].stand_still()
        await asyncio.sleep(4.0)
        cluster.nodes[0].go_on()
        await asyncio.sleep(10.0)

    assert played(story).violations == ()
    assert done == [("a", 2.0), ("b", 3.0), ("a", 5.0), ("b", 5.0), ("c", 8.0), ("c", 8.0)]


def test_what_was_sent_arrives_though_its_sender_has_crashed() -> None:
    arrived: list[float] = []

    async def story(run: Run) -> None:
        async def note() -> None:
            arrived.append(run.now_us())

        async def program(node: Node) -> None:
            await node.send(note)

        network = FaultPlan(**{**CALM.network.__dict__, "delayed": 1.0, "delay_max_s": 10.0})
        cluster = run.cluster(nodes=1, trouble=Trouble(**{**CALM.__dict__, "network": network}))
        cluster.start(program)
        cluster.nodes[0].client.trouble(0.0)
        await asyncio.sleep(0.0001)
        cluster.nodes[0].crash()
        assert not arrived
        await asyncio.sleep(20.0)

    assert played(story).violations == ()
    assert len(arrived) == 1


def test_the_clock_of_one_node_moves_and_no_other() -> None:
    seen: dict[str, int] = {}

    async def story(run: Run) -> None:
        async def program(node: Node) -> None:
            if node.name == "n1":
                node.life.shift_us = 7_000_000
            seen[node.name] = SYSTEM.now_us() - run.now_us()

        cluster = run.cluster(nodes=2, trouble=CALM)
        cluster.start(program)
        await asyncio.sleep(1.0)
        assert SYSTEM.now_us() == run.now_us()

    assert played(story).violations == ()
    assert seen == {"n1": 7_000_000, "n2": 0}


def test_a_program_that_fails_is_a_violation() -> None:
    async def program(node: Node) -> None:
        raise ZeroDivisionError

    async def story(run: Run) -> None:
        run.cluster(nodes=1, trouble=CALM).start(program)
        await asyncio.sleep(1.0)

    assert played(story).violations == ("a program ended with ZeroDivisionError()",)


def test_numbers_that_the_code_draws_itself_are_the_seeds() -> None:
    drawn: list[float] = []

    async def story(run: Run) -> None:
        drawn.append(random.random())

    before = random.getstate()
    played(story, 5)
    played(story, 5)
    played(story, 6)
    assert drawn[0] == drawn[1] != drawn[2]
    assert random.getstate() == before


class Slow(Service):
    """Ends two seconds after it was told to."""

    async def work(self, stop: Waiter, /) -> None:
        await stop.wait()
        await asyncio.sleep(2.0)


def test_a_service_whose_node_stood_still_while_it_drained_is_cancelled_as_any_other() -> None:
    """Found by the world of jobs: its user got a TimeoutError in place of the cancellation."""

    async def story(run: Run) -> None:
        async def program(node: Node) -> None:
            async with Slow("slow", drain_s=1.0):
                await asyncio.Event().wait()

        cluster = run.cluster(nodes=1, trouble=CALM)
        [node] = cluster.nodes
        cluster.start(program)
        await asyncio.sleep(1.0)
        stopping = asyncio.create_task(node.stop())
        await asyncio.sleep(0.5)
        node.stand_still()
        await asyncio.sleep(10.0)
        node.go_on()
        await stopping
        run.note("stopped")

    outcome = played(story)
    assert outcome.violations == ()
    assert outcome.counts["stopped"] == 1


class Fragile:
    """A world that breaks when a message is lost after a crash, whatever else happens."""

    name = "fragile"
    sometimes = ("crashed",)

    async def play(self, run: Run) -> None:
        async def nothing() -> None:
            return

        async def program(node: Node) -> None:
            while True:
                await asyncio.sleep(1.0)
                try:
                    await node.send(nothing)
                except OutcomeUnknown:
                    if run.counts["crashed"]:
                        run.violated(f"{node.name} broke at {run.now_us()}")
                except BackendError:
                    continue

        cluster: Cluster = run.cluster(nodes=3, trouble=Trouble(crashed=0.2))
        cluster.start(program)
        await cluster.suffer(20.0)


def test_a_failure_is_told_with_the_fewest_faults_that_bring_it_about(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--world", f"{__name__}:Fragile", "--seeds", "0:50", "--until", "1"]
    assert main(words) == 1
    said = capsys.readouterr().out
    assert "2 of" in said
    replay = said.rpartition("python -m sdpatterns.testing.simulation ")[2].splitlines()[0]
    again: list[Any] = [word.strip("'") for word in replay.split()]
    assert "crashed@" in again[-1]
    assert "lost_" in again[-1]
    assert main(again) == 1
    assert "broke at" in capsys.readouterr().out


def test_shrinking_ends_where_it_may_run_no_more() -> None:
    found = next(outcome for seed in range(50) if (outcome := simulate(Fragile(), seed)).violations)
    few = shrink(Fragile(), found, runs_max=3)
    assert few.runs == 3
    assert few.outcome.violations
    assert len(few.outcome.faults) <= len(found.faults)


def test_a_fault_that_is_left_out_does_not_strike() -> None:
    found = simulate(Fragile(), 3)
    crashes = [fault.name for fault in found.faults if fault.name.startswith("crashed")]
    assert crashes
    again = simulate(Fragile(), 3, frozenset(crashes[:1]))
    assert [fault.name for fault in again.faults] == crashes[:1]
