"""What waiting costs the server: connections and commands, counted there."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from sdpatterns.backends.redis import RedisBackend
from sdpatterns.core.runtime import finish

WAITERS = 60


@pytest.fixture
def server(valkey_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(valkey_url) as client:
        yield client


def listening(server: Any, name: str) -> int:
    """How many connections of this name are subscribed to something."""
    return sum(client["name"] == name for client in server.client_list(_type="pubsub"))


def subscribing(server: Any) -> int:
    """How many SUBSCRIBE and UNSUBSCRIBE the server has had."""
    stats = server.info("commandstats")
    return sum(stats.get(f"cmdstat_{verb}", {"calls": 0})["calls"] for verb in ("subscribe", "unsubscribe"))


def test_sixty_threads_that_wait_share_one_connection(valkey_url: str, server: Any) -> None:
    name = secrets.token_hex(4)
    backend = RedisBackend(f"{valkey_url}?client_name={name}", blocking=True, connections_max=4)
    ready, heard = threading.Barrier(WAITERS + 1), []

    async def waits(place: int) -> None:
        async with backend.signals.subscribe(f"{name}/{place % 20}") as subscription:
            ready.wait(60.0)
            heard.append(await subscription.wait(60.0))

    with backend:
        threads = [threading.Thread(target=lambda place=place: finish(waits(place))) for place in range(WAITERS)]
        for thread in threads:
            thread.start()
        ready.wait(60.0)
        assert listening(server, name) == 1
        finish(backend.signals.notify(*(f"{name}/{place}" for place in range(20))))
        for thread in threads:
            thread.join(60.0)
    assert heard == [True] * WAITERS


def test_a_hundred_tasks_that_wait_cost_a_handful_of_commands(valkey_url: str, server: Any) -> None:
    name = secrets.token_hex(4)

    async def play() -> None:
        async with RedisBackend(f"{valkey_url}?client_name={name}") as backend:
            before = subscribing(server)
            subscriptions = [backend.signals.subscribe(f"{name}/{place}") for place in range(100)]
            await asyncio.gather(*(subscription.__aenter__() for subscription in subscriptions))
            assert listening(server, name) == 1
            await backend.signals.notify(*(f"{name}/{place}" for place in range(100)))
            assert all(await asyncio.gather(*(subscription.wait(60.0) for subscription in subscriptions)))
            await asyncio.gather(*(subscription.__aexit__(None, None, None) for subscription in subscriptions))
            assert subscribing(server) - before <= 4

    asyncio.run(play())


def test_waiters_that_come_one_after_another_to_one_inbox_cost_one_command(valkey_url: str, server: Any) -> None:
    inbox = f"inbox/{secrets.token_hex(4)}"

    async def play() -> None:
        async with RedisBackend(valkey_url) as backend:
            before = subscribing(server)
            for waiter in range(50):
                async with backend.signals.subscribe(f"{inbox}#{waiter}") as subscription:
                    await backend.signals.notify(f"{inbox}#{waiter}")
                    assert await subscription.wait(60.0)
            assert subscribing(server) - before == 1

    asyncio.run(play())


def test_a_waiter_of_an_inbox_hears_nothing_of_the_others(valkey_url: str) -> None:
    inbox = f"inbox/{secrets.token_hex(4)}"

    async def play() -> None:
        async with (
            RedisBackend(valkey_url) as backend,
            backend.signals.subscribe(f"{inbox}#a") as mine,
            backend.signals.subscribe(inbox) as whole,
            backend.signals.subscribe(f"{inbox}#b#a") as other,
        ):
            await backend.signals.notify(inbox, f"{inbox}#b#a", f"{inbox}#c")
            assert await whole.wait(60.0)
            assert await other.wait(60.0)
            assert not await mine.wait(0.05)

    asyncio.run(play())


def test_a_topic_that_is_left_and_taken_again_is_heard(valkey_url: str, server: Any) -> None:
    name = secrets.token_hex(4)
    topics = [f"{name}/{place}" for place in range(3000)]

    async def play() -> None:
        async with RedisBackend(valkey_url) as backend, backend.signals.subscribe("stays"):
            for topic in topics:
                async with backend.signals.subscribe(topic):
                    pass
            # What nothing waits for is given up, so that it does not grow without bound.
            assert len(server.pubsub_channels(f"sdp:!{name}*")) <= 1024 + 1
            for topic in (topics[0], topics[-1]):
                async with backend.signals.subscribe(topic) as subscription:
                    await backend.signals.notify(topic)
                    assert await subscription.wait(60.0)

    asyncio.run(play())
