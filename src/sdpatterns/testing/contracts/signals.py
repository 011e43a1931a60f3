"""The contract of `SignalBus`."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from sdpatterns.core.runtime import current
from sdpatterns.ports.signals import Ear
from sdpatterns.testing.contracts.stage import BackendContract, Job, Stage, built, opened, run, scene

__all__ = [
    "ODD_TOPICS",
    "CancelledSignalsContract",
    "PreciseSignalsContract",
    "SharedSignalsContract",
    "SignalBusContract",
]

ODD_TOPICS = [
    "", " ", "a/b", "{a}", "%", "a*", "[a]", "'", '"', "; --", "\\", "\n", "\x00", "ключ", "🔑", "A", "a",
    "t" * 100, "t" * 1024, "t" * 9000,
]  # fmt: skip
"""Topics that a pattern may make out of a user's key; all of them are different."""

_LONG_S = 60.0
_SHORT_S = 0.05


async def _soon_quiet(ear: Ear, waits: int) -> bool:
    for _ in range(waits):
        if not await ear.wait(_SHORT_S):
            return True
    return False


class SignalBusContract(BackendContract):
    """What `SignalBus` and `Ear` promise of every bus."""

    @scene
    async def test_it_runs_under_the_runtime_it_names(self, stage: Stage) -> None:
        named = stage.signals.runtime
        assert named is None or named is current()

    @scene
    async def test_an_announcement_wakes_a_listener(self, stage: Stage) -> None:
        topic, ready = stage.topic("a"), current().waiter()

        async def listens() -> bool:
            async with stage.signals.listen(topic) as ear:
                ready.wake()
                return await ear.wait(_LONG_S)

        async def announces() -> bool:
            heard = await ready.wait(_LONG_S)
            await stage.signals.announce(topic)
            return heard

        assert await stage.together([listens, announces]) == [True, True]

    @scene
    async def test_a_signal_between_two_waits_is_kept(self, stage: Stage) -> None:
        topic = stage.topic("a")
        async with stage.signals.listen(topic) as ear:
            for _ in range(5):
                await stage.signals.announce(topic)
                assert await ear.wait(_LONG_S)

    @scene
    async def test_time_is_up(self, stage: Stage) -> None:
        async with stage.signals.listen(stage.topic("silence")) as ear:
            # A hint for nothing is allowed, a stream of them is not.
            assert await _soon_quiet(ear, 5)

    @scene
    async def test_many_rings_are_soon_over(self, stage: Stage) -> None:
        topic = stage.topic("a")
        async with stage.signals.listen(topic) as ear:
            for _ in range(20):
                await stage.signals.announce(topic)
            assert await ear.wait(_LONG_S)
            assert await _soon_quiet(ear, 25)

    @scene
    async def test_all_who_listen_are_woken(self, stage: Stage) -> None:
        topic = stage.topic("a")
        bells = [current().waiter() for _ in range(5)]

        async def listens(place: int) -> bool:
            async with stage.signals.listen(topic) as ear:
                bells[place].wake()
                return await ear.wait(_LONG_S)

        async def announces() -> bool:
            ready = [await bell.wait(_LONG_S) for bell in bells]
            await stage.signals.announce(topic)
            return all(ready)

        jobs: list[Job[bool]] = [partial(listens, place) for place in range(5)]
        assert await stage.together([*jobs, announces]) == [True] * 6

    @scene
    async def test_an_ear_hears_each_of_its_topics(self, stage: Stage) -> None:
        topics = [stage.topic(name) for name in "abc"]
        async with stage.signals.listen(*topics) as ear:
            for topic in topics:
                await stage.signals.announce(topic)
                assert await ear.wait(_LONG_S)

    @scene
    async def test_several_topics_are_announced_at_once(self, stage: Stage) -> None:
        topics = [stage.topic(name) for name in "abc"]
        async with stage.signals.listen(topics[0]) as first, stage.signals.listen(topics[2]) as last:
            await stage.signals.announce(*topics)
            assert await first.wait(_LONG_S)
            assert await last.wait(_LONG_S)

    @scene
    async def test_announcing_to_nobody_is_no_error(self, stage: Stage) -> None:
        await stage.signals.announce(stage.topic("nobody"))
        await stage.signals.announce()

    @scene
    async def test_any_text_is_a_topic(self, stage: Stage) -> None:
        for topic in map(stage.topic, ODD_TOPICS):
            async with stage.signals.listen(topic) as ear:
                await stage.signals.announce(topic)
                assert await ear.wait(_LONG_S), topic[:60]

    @scene
    async def test_an_ear_may_close_while_others_on_the_topic_go_on(self, stage: Stage) -> None:
        topic = stage.topic("a")
        async with stage.signals.listen(topic) as stays:
            for _ in range(5):
                async with stage.signals.listen(topic):
                    pass
                await stage.signals.announce(topic)
                assert await stays.wait(_LONG_S)

    @scene
    async def test_an_error_inside_the_block_arrives_bare(self, stage: Stage) -> None:
        mine = KeyError("mine")
        with pytest.raises(KeyError) as caught:
            async with stage.signals.listen(stage.topic("a")):
                raise mine
        assert caught.value is mine

    def test_it_can_be_used_again_after_it_was_closed(self) -> None:
        stage = built(self)

        async def play(on: Stage) -> None:
            topic = on.topic("a")
            async with on.signals.listen(topic) as ear:
                await on.signals.announce(topic)
                assert await ear.wait(_LONG_S)

        for _ in range(3):
            run(self.runtime, lambda: opened(stage, play))


class CancelledSignalsContract(BackendContract):
    """Cancelling a wait leaves the ear as it was."""

    runtime = "asyncio"

    @scene
    async def test_an_ear_hears_on_after_a_cancelled_wait(self, stage: Stage) -> None:
        topic = stage.topic("a")
        async with stage.signals.listen(topic) as ear:
            for turns in range(6):
                waiting = asyncio.ensure_future(ear.wait(_LONG_S))
                for _ in range(turns):
                    await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
                await stage.signals.announce(topic)
                assert await ear.wait(_LONG_S)


class SharedSignalsContract(BackendContract):
    """Of buses that reach other clients of the same backend."""

    @scene
    async def test_another_client_is_heard(self, stage: Stage) -> None:
        topic, other = stage.topic("a"), stage.another()
        async with other.backend, stage.signals.listen(topic) as ear:
            for _ in range(5):
                await other.signals.announce(topic)
                assert await ear.wait(_LONG_S)

    @scene
    async def test_listeners_of_several_clients_are_woken(self, stage: Stage) -> None:
        topic, other = stage.topic("a"), stage.another()
        async with other.backend, stage.signals.listen(topic) as ours, other.signals.listen(topic) as theirs:
            await stage.signals.announce(topic)
            assert await ours.wait(_LONG_S)
            assert await theirs.wait(_LONG_S)


class PreciseSignalsContract(BackendContract):
    """Of buses that ring for an ear's own topics only."""

    @scene
    async def test_other_topics_are_not_heard(self, stage: Stage) -> None:
        async with stage.signals.listen(stage.topic("mine")) as ear:
            await stage.signals.announce(stage.topic("other"), stage.topic("mine2"), stage.topic("Mine"))
            assert not await ear.wait(_SHORT_S)

    @scene
    async def test_what_was_announced_before_is_not_heard(self, stage: Stage) -> None:
        topic = stage.topic("a")
        await stage.signals.announce(topic)
        async with stage.signals.listen(topic) as ear:
            assert not await ear.wait(_SHORT_S)
