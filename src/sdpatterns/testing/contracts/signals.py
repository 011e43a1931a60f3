"""The contract of `SignalBus`."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from sdpatterns.core.runtime import current
from sdpatterns.ports.signals import Subscription
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


async def _soon_quiet(subscription: Subscription, waits: int) -> bool:
    for _ in range(waits):
        if not await subscription.wait(_SHORT_S):
            return True
    return False


class SignalBusContract(BackendContract):
    """What `SignalBus` and `Subscription` promise of every bus."""

    @scene
    async def test_it_runs_under_the_runtime_it_names(self, stage: Stage) -> None:
        named = stage.signals.runtime
        assert named is None or named is current()

    @scene
    async def test_a_notification_wakes_a_subscriber(self, stage: Stage) -> None:
        topic, ready = stage.topic("a"), current().waiter()

        async def subscribes() -> bool:
            async with stage.signals.subscribe(topic) as subscription:
                ready.wake()
                return await subscription.wait(_LONG_S)

        async def notifies() -> bool:
            heard = await ready.wait(_LONG_S)
            await stage.signals.notify(topic)
            return heard

        assert await stage.together([subscribes, notifies]) == [True, True]

    @scene
    async def test_a_signal_between_two_waits_is_kept(self, stage: Stage) -> None:
        topic = stage.topic("a")
        async with stage.signals.subscribe(topic) as subscription:
            for _ in range(5):
                await stage.signals.notify(topic)
                assert await subscription.wait(_LONG_S)

    @scene
    async def test_time_is_up(self, stage: Stage) -> None:
        async with stage.signals.subscribe(stage.topic("silence")) as subscription:
            # A hint for nothing is allowed, a stream of them is not.
            assert await _soon_quiet(subscription, 5)

    @scene
    async def test_many_notifications_are_soon_over(self, stage: Stage) -> None:
        topic = stage.topic("a")
        async with stage.signals.subscribe(topic) as subscription:
            for _ in range(20):
                await stage.signals.notify(topic)
            assert await subscription.wait(_LONG_S)
            assert await _soon_quiet(subscription, 25)

    @scene
    async def test_all_subscribers_are_woken(self, stage: Stage) -> None:
        topic = stage.topic("a")
        waiters = [current().waiter() for _ in range(5)]

        async def subscribes(place: int) -> bool:
            async with stage.signals.subscribe(topic) as subscription:
                waiters[place].wake()
                return await subscription.wait(_LONG_S)

        async def notifies() -> bool:
            ready = [await waiter.wait(_LONG_S) for waiter in waiters]
            await stage.signals.notify(topic)
            return all(ready)

        jobs: list[Job[bool]] = [partial(subscribes, place) for place in range(5)]
        assert await stage.together([*jobs, notifies]) == [True] * 6

    @scene
    async def test_a_subscription_hears_each_of_its_topics(self, stage: Stage) -> None:
        topics = [stage.topic(name) for name in "abc"]
        async with stage.signals.subscribe(*topics) as subscription:
            for topic in topics:
                await stage.signals.notify(topic)
                assert await subscription.wait(_LONG_S)

    @scene
    async def test_several_topics_are_notified_at_once(self, stage: Stage) -> None:
        topics = [stage.topic(name) for name in "abc"]
        async with stage.signals.subscribe(topics[0]) as first, stage.signals.subscribe(topics[2]) as last:
            await stage.signals.notify(*topics)
            assert await first.wait(_LONG_S)
            assert await last.wait(_LONG_S)

    @scene
    async def test_notifying_without_subscribers_is_no_error(self, stage: Stage) -> None:
        await stage.signals.notify(stage.topic("nobody"))
        await stage.signals.notify()

    @scene
    async def test_any_text_is_a_topic(self, stage: Stage) -> None:
        for topic in map(stage.topic, ODD_TOPICS):
            async with stage.signals.subscribe(topic) as subscription:
                await stage.signals.notify(topic)
                assert await subscription.wait(_LONG_S), topic[:60]

    @scene
    async def test_a_subscription_may_end_while_others_on_the_topic_go_on(self, stage: Stage) -> None:
        topic = stage.topic("a")
        async with stage.signals.subscribe(topic) as stays:
            for _ in range(5):
                async with stage.signals.subscribe(topic):
                    pass
                await stage.signals.notify(topic)
                assert await stays.wait(_LONG_S)

    @scene
    async def test_an_error_inside_the_block_arrives_bare(self, stage: Stage) -> None:
        mine = KeyError("mine")
        with pytest.raises(KeyError) as caught:
            async with stage.signals.subscribe(stage.topic("a")):
                raise mine
        assert caught.value is mine

    def test_it_can_be_used_again_after_it_was_closed(self) -> None:
        stage = built(self)

        async def play(on: Stage) -> None:
            topic = on.topic("a")
            async with on.signals.subscribe(topic) as subscription:
                await on.signals.notify(topic)
                assert await subscription.wait(_LONG_S)

        for _ in range(3):
            run(self.runtime, lambda: opened(stage, play))


class CancelledSignalsContract(BackendContract):
    """Cancelling a wait leaves the subscription as it was."""

    runtime = "asyncio"

    @scene
    async def test_a_subscription_hears_on_after_a_cancelled_wait(self, stage: Stage) -> None:
        topic = stage.topic("a")
        async with stage.signals.subscribe(topic) as subscription:
            for turns in range(6):
                waiting = asyncio.ensure_future(subscription.wait(_LONG_S))
                for _ in range(turns):
                    await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
                await stage.signals.notify(topic)
                assert await subscription.wait(_LONG_S)


class SharedSignalsContract(BackendContract):
    """Of buses that reach other clients of the same backend."""

    @scene
    async def test_another_client_is_heard(self, stage: Stage) -> None:
        topic, other = stage.topic("a"), stage.another()
        async with other.backend, stage.signals.subscribe(topic) as subscription:
            for _ in range(5):
                await other.signals.notify(topic)
                assert await subscription.wait(_LONG_S)

    @scene
    async def test_subscribers_of_several_clients_are_woken(self, stage: Stage) -> None:
        topic, other = stage.topic("a"), stage.another()
        async with other.backend, stage.signals.subscribe(topic) as ours, other.signals.subscribe(topic) as theirs:
            await stage.signals.notify(topic)
            assert await ours.wait(_LONG_S)
            assert await theirs.wait(_LONG_S)


class PreciseSignalsContract(BackendContract):
    """Of buses that wake a subscription for its own topics only."""

    @scene
    async def test_other_topics_are_not_heard(self, stage: Stage) -> None:
        async with stage.signals.subscribe(stage.topic("mine")) as subscription:
            await stage.signals.notify(stage.topic("other"), stage.topic("mine2"), stage.topic("Mine"))
            assert not await subscription.wait(_SHORT_S)

    @scene
    async def test_what_was_notified_before_is_not_heard(self, stage: Stage) -> None:
        topic = stage.topic("a")
        await stage.signals.notify(topic)
        async with stage.signals.subscribe(topic) as subscription:
            assert not await subscription.wait(_SHORT_S)
