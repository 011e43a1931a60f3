"""Jobs that follow others, and workers that are told to rest."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.messaging.inbox import Inbox
from sdpatterns.messaging.jobs import Jobs, Worker, chain, current_job
from sdpatterns.ports.queue import Settlement
from tests.loops import each_virtual_loop

anyio_backend = each_virtual_loop
pytestmark = pytest.mark.anyio


class Logged:
    """Jobs that write down when they end."""

    def __init__(self) -> None:
        self.jobs = Jobs("mail", backend=MemoryBackend())
        self.ended: list[str] = []
        self.failing = False

        @self.jobs.job(attempts_max=1, keep_result_s=600)
        async def step(name: str, lasts_s: float = 1.0) -> str:
            await anyio.sleep(lasts_s)
            if self.failing and name == "b":
                raise ConnectionError("reset")
            self.ended.append(name)
            return name

        self.step = step


async def test_a_chain_runs_one_job_after_another() -> None:
    it = Logged()
    last = it.step.options(id="last").message("c")
    await it.jobs.publish([chain(it.step.message("a", 5.0), it.step.message("b"), last)])
    async with Worker(it.jobs):
        assert await it.jobs.handle("last").result(60) == "c"
    assert it.ended == ["a", "b", "c"]


async def test_a_parked_job_holds_its_chain_until_it_is_redriven() -> None:
    it = Logged()
    it.failing = True
    second = it.step.options(id="second").message("b")
    await it.jobs.publish([chain(it.step.message("a"), second, it.step.message("c"))])
    async with Worker(it.jobs):
        await anyio.sleep(60)
        assert it.ended == ["a"]
        it.failing = False
        assert await it.jobs.queue.redrive(["second"]) == [True]
        await anyio.sleep(60)
    assert it.ended == ["a", "b", "c"]


async def test_what_follows_a_group_runs_once_after_its_last_member() -> None:
    it = Logged()
    async with Worker(it.jobs):
        members = [it.step.message(name, lasts_s) for name, lasts_s in (("x", 9.0), ("y", 1.0), ("z", 5.0))]
        handle = await it.jobs.group(members, then=it.step.message("all"))
        assert await handle.result(60) == "all"
        await anyio.sleep(60)
    assert it.ended == ["y", "z", "x", "all"]


class Broken(Exception):
    """No other attempt would mend it."""


class FirstDiesOnce:
    """The worker of the first job of a chain dies after it has put the next one in the queue, and before it settles."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, second_lasts_s: float) -> None:
        backend = MemoryBackend()
        self.jobs, self.effects = Jobs("mail", backend=backend), list[str]()
        self.seen: list[tuple[str, str]] = []
        inbox, settle = Inbox("effects"), self.jobs.queue.settle

        @self.jobs.job(give_up_on=(Broken,))
        async def note(name: str, lasts_s: float = 0.0) -> None:
            self.seen.append((name, current_job().id))
            if lasts_s < 0:
                raise Broken
            await anyio.sleep(lasts_s)
            if await inbox.is_new(current_job().id, within=backend):
                self.effects.append(name)

        async def died_before(settlements: Sequence[Settlement], /) -> Sequence[bool]:
            kept = [it for it in settlements if (it.claimed.id, it.claimed.attempt) != ("first", 1)]
            await settle(kept)
            return [True] * len(settlements)

        monkeypatch.setattr(self.jobs.queue, "settle", died_before)
        self.chain = chain(note.options(id="first").message("a"), note.message("b", second_lasts_s), note.message("c"))


async def test_what_follows_a_job_that_ran_twice_has_the_same_id_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    it = FirstDiesOnce(monkeypatch, second_lasts_s=0.0)
    await it.jobs.publish([it.chain])
    async with Worker(it.jobs):
        await anyio.sleep(60)
    assert [name for name, _ in it.seen] == ["a", "b", "c", "a", "b", "c"]
    assert len(set(it.seen)) == 3, "one id for each"
    assert it.effects == ["a", "b", "c"], "an inbox takes each once, by its id"


@pytest.mark.parametrize("is_parked", [False, True])
async def test_what_follows_is_dropped_the_second_time_while_the_first_is_there(
    is_parked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = FirstDiesOnce(monkeypatch, second_lasts_s=-1.0 if is_parked else 30.0)
    await it.jobs.publish([it.chain])
    async with Worker(it.jobs):
        await anyio.sleep(60)
    assert it.effects == (["a"] if is_parked else ["a", "b", "c"])
    assert [name for name, _ in it.seen] == (["a", "b", "a"] if is_parked else ["a", "b", "a", "c"])
    assert len(await it.jobs.queue.parked(10)) == is_parked


async def test_a_member_that_runs_twice_counts_once() -> None:
    it, runs = Logged(), list[int]()

    @it.jobs.job
    async def twice() -> None:
        runs.append(current_job().attempt)
        if current_job().attempt == 1:
            await it.jobs.queue.extend([current_job().claimed], 0.001)  # its lease ends at once
            await anyio.sleep(20)

    async with Worker(it.jobs):
        handle = await it.jobs.group([twice.message(), it.step.message("other")], then=it.step.message("all"))
        assert await handle.result(100) == "all"
    assert it.ended == ["other", "all"]
    assert len(runs) >= 2


async def test_a_paused_queue_is_claimed_from_no_more_until_it_is_resumed() -> None:
    it = Logged()
    await it.jobs.pause()
    async with Worker(it.jobs, poll_s=5):
        await it.step.enqueue("a")
        await anyio.sleep(60)
        assert it.ended == []
        await it.jobs.resume()
        await anyio.sleep(10)
        assert it.ended == ["a"]
        await it.jobs.pause()
        await anyio.sleep(10)
        await it.step.enqueue("b")
        await anyio.sleep(60)
    assert it.ended == ["a"]
    assert await it.jobs.is_paused()
