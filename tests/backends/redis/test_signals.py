"""Listening over a connection that breaks, falls silent or is never there."""

from __future__ import annotations

import asyncio
import gc
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from sdpatterns.backends.redis import RedisBackend
from sdpatterns.core.codec import IntegersCodec
from sdpatterns.core.runtime import current
from sdpatterns.errors import BackendUnavailable
from sdpatterns.ports.engine import listener
from sdpatterns.ports.states import Space
from sdpatterns.testing.contracts.stage import RuntimeName, run
from tests.backends.everywhere import PATIENCE_S
from tests.backends.redis.proxy import FaultProxy
from tests.backends.redis.steps import Count

RUNTIMES: list[RuntimeName] = ["asyncio", "blocking"]


@pytest.fixture
def proxy(valkey_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(valkey_url) as proxy:
        yield proxy


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_listener_that_was_cut_off_rings_and_hears_again(runtime: RuntimeName, proxy: FaultProxy) -> None:
    backend = RedisBackend.from_url(proxy.url, blocking=runtime == "blocking")
    topic = secrets.token_hex(4)

    async def play() -> None:
        async with backend, backend.signals.subscribe(topic) as subscription:
            for _ in range(3):
                proxy.cut()
                assert await subscription.wait(60.0)  # announcements may have been missed
                await backend.signals.notify(topic)
                assert await subscription.wait(60.0)

    run(runtime, play)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_quiet_listener_stays(runtime: RuntimeName, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "QUIET_S", 0.05)
    backend = RedisBackend.from_url(proxy.url, blocking=runtime == "blocking")
    topic = secrets.token_hex(4)

    async def play() -> None:
        async with backend, backend.signals.subscribe(topic) as subscription:
            opened = proxy.connections
            assert not await subscription.wait(0.4)
            assert proxy.connections == opened
            await backend.signals.notify(topic)
            assert await subscription.wait(60.0)

    run(runtime, play)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_listener_without_a_sign_of_life_is_replaced(
    runtime: RuntimeName, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "QUIET_S", 0.05)
    backend = RedisBackend.from_url(proxy.url, blocking=runtime == "blocking", timeout_s=0.3)
    topic = secrets.token_hex(4)

    async def play() -> None:
        async with backend, backend.signals.subscribe(topic) as subscription:
            proxy.arm("frozen", on=b"PING")
            assert await subscription.wait(60.0)
            assert proxy.struck == 1
            await backend.signals.notify(topic)
            assert await subscription.wait(60.0)

    run(runtime, play)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_nobody_waits_for_a_subscription_that_is_not_confirmed(runtime: RuntimeName, proxy: FaultProxy) -> None:
    backend = RedisBackend.from_url(proxy.url, blocking=runtime == "blocking", timeout_s=0.3)

    async def play() -> None:
        async with backend:
            proxy.arm("frozen", on=b"SUBSCRIBE")
            with pytest.raises(BackendUnavailable):
                await backend.signals.subscribe("topic").__aenter__()
            subscription = backend.signals.subscribe("topic")
            with pytest.raises(RuntimeError, match="async with"):
                await subscription.wait(1.0)

    run(runtime, play)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("fault", ["before", "after"])
def test_an_announcement_that_is_lost_is_repeated(runtime: RuntimeName, fault: str, proxy: FaultProxy) -> None:
    backend = RedisBackend.from_url(proxy.url, blocking=runtime == "blocking")
    topic = secrets.token_hex(4)

    async def play() -> None:
        async with backend, backend.signals.subscribe(topic) as subscription:
            proxy.arm(fault, on=b"PUBLISH")  # type: ignore[arg-type]
            await backend.signals.notify(topic)
            assert await subscription.wait(60.0)

    run(runtime, play)


def test_all_ears_of_a_loop_share_one_connection(proxy: FaultProxy) -> None:
    backend = RedisBackend.from_url(proxy.url)

    async def play() -> None:
        async with backend:
            subscriptions = [backend.signals.subscribe(f"{place % 10}", "all") for place in range(50)]
            await asyncio.gather(*(subscription.__aenter__() for subscription in subscriptions))
            await backend.signals.notify("all")
            assert all(await asyncio.gather(*(subscription.wait(60.0) for subscription in subscriptions)))
            await asyncio.gather(*(subscription.__aexit__(None, None, None) for subscription in subscriptions))
            assert proxy.connections == 2

    asyncio.run(play())


def test_entering_may_be_cancelled_at_any_moment(proxy: FaultProxy) -> None:
    backend = RedisBackend.from_url(proxy.url)

    async def play() -> None:
        async with backend, backend.signals.subscribe("stays") as stays:
            for turns in range(12):
                entering = asyncio.ensure_future(backend.signals.subscribe(f"t{turns}", "stays").__aenter__())
                for _ in range(turns % 6):
                    await asyncio.sleep(0)
                entering.cancel()
                ended = (await asyncio.gather(entering, return_exceptions=True))[0]
                if not isinstance(ended, BaseException):
                    await ended.__aexit__(None, None, None)
                await backend.signals.notify("stays")
                assert await stays.wait(60.0)
                async with backend.signals.subscribe(f"t{turns}") as subscription:
                    await backend.signals.notify(f"t{turns}")
                    assert await subscription.wait(60.0)

    asyncio.run(play())


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_steps_announce_in_a_cluster_whichever_node_they_ran_on(runtime: RuntimeName, valkey_cluster: str) -> None:
    backend = RedisBackend.from_url(valkey_cluster, cluster=True, blocking=runtime == "blocking")
    topic = secrets.token_hex(4)

    class Wake(Count):
        def __call__(self, states: Any, now_us: int, /) -> object:
            after, answer, keep_s, _ = super().__call__(states, now_us)
            return after, answer, keep_s, (topic,)

    async def play() -> None:
        cells = backend.states.cells(Space(f"wake/{topic}", IntegersCodec()))
        async with backend, backend.signals.subscribe(topic) as subscription:
            for place in range(12):
                assert await cells.transact(f"{place}", Wake(script=False)) == 1
                assert await subscription.wait(60.0)
            assert current().name == runtime

    run(runtime, play)


@pytest.mark.nightly
def test_who_is_cancelled_while_it_subscribes_leaves_nothing(proxy: FaultProxy) -> None:
    """A thousand at a time, on topics of their own and on one that they share, with and without a reply."""

    async def futures_after(backend: RedisBackend, topics: list[str], turns: int) -> int:
        async def hear(topic: str) -> None:
            async with backend.signals.subscribe(topic, "shared"):
                await asyncio.sleep(60)

        tasks = [asyncio.create_task(hear(topic)) for topic in topics]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        del tasks
        for _ in range(3):
            await asyncio.sleep(0)
        gc.collect()
        # By type alone: isinstance asks an object for its class, and a lazy one of another library may raise.
        return sum(type(kept) is asyncio.Future for kept in gc.get_objects())

    async def play() -> None:
        for turns in (1, 2, 3, 30):
            # The first to listen also opens the connection; some are cancelled before it is there.
            async with RedisBackend.from_url(proxy.url, timeout_s=PATIENCE_S) as backend:
                before = await futures_after(backend, [], 1)
                assert await futures_after(backend, [f"{turns}/{place}" for place in range(1000)], turns) <= before + 10
                # Later listeners to the same topics hear them.
                async with backend.signals.subscribe(f"{turns}/7", "shared") as subscription:
                    await backend.signals.notify(f"{turns}/7")
                    assert await subscription.wait(60.0)

    asyncio.run(play())
