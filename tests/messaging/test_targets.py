"""A relay takes events to other servers: once, in order for each subject, also where a reply is lost."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import nats
import pytest
import redis.asyncio
from nats.js.api import DiscardPolicy
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.backends.nats import NatsBackend
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.core.context import Trace, correlation_id, trace
from sdpatterns.core.envelope import EnvelopeMode
from sdpatterns.errors import BackendFull, BackendUnavailable
from sdpatterns.messaging.cloudevents import CloudEvent
from sdpatterns.messaging.consumer import Redelivery
from sdpatterns.messaging.outbox import Outbox, QueueTarget, Relay
from sdpatterns.ports.queue import Complete
from tests.backends.everywhere import PATIENCE_S, opened, unique
from tests.backends.redis.proxy import FaultProxy

pytestmark = pytest.mark.anyio

MODES: list[EnvelopeMode] = ["structured", "binary"]
Letter = tuple[Mapping[str, str], bytes]


class There(NamedTuple):
    """A target, what has arrived there, and the proxy before its server with the word by which a sending is known."""

    target: Callable[[CloudEvent], Any]
    arrived: Callable[[], Any]
    proxy: FaultProxy
    word: bytes


@contextlib.asynccontextmanager
async def jetstream(url: str, mode: EnvelopeMode, **settings: Any) -> AsyncIterator[There]:
    """A subject of a stream that is made for it."""
    name = unique("orders")
    client = await nats.connect(url)
    stream = client.jetstream()
    await stream.add_stream(name=name, subjects=[f"{name}.>"])
    with FaultProxy(url) as proxy:
        async with NatsBackend(proxy.url.replace("redis", "nats"), timeout_s=PATIENCE_S) as backend:

            async def arrived() -> list[Letter]:
                count = (await stream.stream_info(name)).state.messages
                letters = [await stream.get_msg(name, number) for number in range(1, count + 1)]
                return [(letter.headers or {}, letter.data or b"") for letter in letters]

            target = backend.stream_target(lambda event: f"{name}.{event.type}", mode=mode, **settings)
            yield There(target, arrived, proxy, b"HPUB " + name.encode())
    await stream.delete_stream(name)
    await client.close()


@contextlib.asynccontextmanager
async def redis_stream(url: str, mode: EnvelopeMode, **settings: Any) -> AsyncIterator[There]:
    """A stream of Valkey's."""
    name = unique("orders")
    async with redis.asyncio.Redis.from_url(url) as client:
        with FaultProxy(url) as proxy:
            async with RedisBackend.from_url(proxy.url, prefix=unique("t"), timeout_s=PATIENCE_S) as backend:

                async def arrived() -> list[Letter]:
                    entries = await client.xrange(name)
                    fields = [{key.decode(): value for key, value in entry.items()} for _, entry in entries]
                    return [
                        ({name: value.decode() for name, value in each.items() if name != "body"}, each["body"])
                        for each in fields
                    ]

                yield There(backend.stream_target(name, mode=mode, **settings), arrived, proxy, b"EVAL")


@contextlib.asynccontextmanager
async def own_queue(url: str, mode: EnvelopeMode) -> AsyncIterator[There]:
    """A queue of ours on Valkey."""
    with FaultProxy(url) as proxy:
        async with RedisBackend.from_url(proxy.url, prefix=unique("t"), timeout_s=PATIENCE_S) as backend:
            queue, letters = backend.queue("orders"), list[Letter]()

            async def arrived() -> list[Letter]:
                while claims := (await queue.claim(10, 60.0)).messages:
                    letters.extend((claimed.headers, claimed.payload) for claimed in claims)
                    await queue.settle([Complete(claimed) for claimed in claims])
                return letters

            yield There(QueueTarget(queue, mode=mode), arrived, proxy, b"EVAL")


PLACES: dict[str, tuple[Any, str]] = {
    "jetstream": (jetstream, "nats_url"),
    "redis stream": (redis_stream, "valkey_url"),
    "queue": (own_queue, "valkey_url"),
}


@pytest.fixture(params=[(place, mode) for place in PLACES for mode in MODES], ids=" ".join)
async def there(request: pytest.FixtureRequest) -> AsyncIterator[There]:
    name, mode = request.param
    place, url = PLACES[name]
    async with place(request.getfixturevalue(url), mode) as found:
        yield found


class Here(NamedTuple):
    """An outbox in a database."""

    backend: Any
    engine: Any
    outbox: Outbox

    async def publish(self, *events: CloudEvent) -> None:
        async with AsyncSession(self.engine) as session, session.begin():
            await self.outbox.publish(*events, within=self.backend.within(session))

    async def relayed(self, target: Callable[[CloudEvent], Any], **settings: Any) -> None:
        """Run a relay until nothing waits."""
        heard = self.backend.signals.subscribe(self.outbox.queue.topic)
        with anyio.fail_after(PATIENCE_S):
            async with heard, Relay(self.outbox, target, **settings):
                while sum((await self.outbox.queue.depth())[:3]):
                    await heard.wait(0.01)


@pytest.fixture
async def here(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Here]:
    async with opened(request, "sqlite", tmp_path) as backend:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'keys.db'}")
        yield Here(backend, engine, Outbox("orders", backend=backend))
        await engine.dispose()


def placed(number: int, subject: str) -> CloudEvent:
    return CloudEvent(id=f"{subject}-{number}", source="/größe", type="placed", subject=subject, data={"n": number})


async def test_events_arrive_whole_and_in_order_for_each_subject(here: Here, there: There) -> None:
    events = [placed(number, subject) for number in range(5) for subject in ("a", "b")]
    correlation_id.set("basket-7")
    trace.set(Trace("0" * 31 + "1", "0" * 15 + "2"))
    await here.publish(*events)
    correlation_id.set(None)
    trace.set(None)
    await here.relayed(there.target)
    letters = await there.arrived()
    found = [CloudEvent.received(headers, body) for headers, body in letters]
    for subject in ("a", "b"):
        assert [event for event in found if event.subject == subject] == [it for it in events if it.subject == subject]
    assert len(found) == len(events)
    assert {headers["correlation-id"] for headers, _ in letters} == {"basket-7"}
    assert all(headers["traceparent"].startswith("00-" + "0" * 31 + "1-") for headers, _ in letters)


async def test_an_event_whose_reply_is_lost_stands_there_once_and_before_the_next(here: Here, there: There) -> None:
    await there.target(placed(0, "warm"))
    await here.publish(placed(1, "a"), placed(2, "a"))
    # Twice: the target tries again by itself, and then the relay does.
    there.proxy.arm("after", "after", on=there.word)
    await here.relayed(there.target)
    assert there.proxy.struck == 2
    found = [CloudEvent.received(headers, body).id for headers, body in await there.arrived()]
    assert found == ["warm-0", "a-1", "a-2"]


async def test_a_sending_that_is_lost_on_the_way_there_is_sent_again(here: Here, there: There) -> None:
    await there.target(placed(0, "warm"))
    await here.publish(placed(1, "a"), placed(2, "a"))
    there.proxy.arm("before", "before", on=there.word)
    await here.relayed(there.target)
    assert [CloudEvent.received(*letter).id for letter in await there.arrived()] == ["warm-0", "a-1", "a-2"]


@pytest.mark.parametrize("away", [BackendUnavailable("away"), BackendFull("full")], ids=["away", "full"])
async def test_a_target_that_is_away_costs_no_attempt(here: Here, away: Exception) -> None:
    arrived, failures = list[str](), [away] * 5

    async def target(event: CloudEvent) -> None:
        if failures:
            raise failures.pop()
        arrived.append(event.id)

    await here.publish(placed(1, "a"), placed(2, "a"))
    await here.relayed(target, redelivery=Redelivery(attempts_max=2, base_s=0, max_s=0))
    assert arrived == ["a-1", "a-2"]
    assert await here.outbox.queue.parked(10) == []


async def test_events_of_two_sources_may_have_one_id(here: Here) -> None:
    arrived = list[str]()
    await here.publish(*(CloudEvent(id="1", source=source, type="x") for source in ("/a", "/b")))
    await here.relayed(lambda event: arrived.append(event.source))
    assert sorted(arrived) == ["/a", "/b"]


async def test_a_subject_that_no_stream_takes_is_told_with_the_fix(nats_url: str) -> None:
    async with NatsBackend(nats_url, timeout_s=PATIENCE_S) as backend:
        with pytest.raises(BackendUnavailable, match="no stream takes 'nobody'"):
            await backend.stream_target("nobody")(placed(1, "a"))


async def test_a_jetstream_that_is_full_is_told_by_its_own_name(nats_url: str) -> None:
    name = unique("small")
    client = await nats.connect(nats_url)
    await client.jetstream().add_stream(name=name, subjects=[name], max_msgs=1, discard=DiscardPolicy.NEW)
    async with NatsBackend(nats_url, timeout_s=PATIENCE_S) as backend:
        target = backend.stream_target(name)
        await target(placed(1, "a"))
        with pytest.raises(BackendFull, match=f"limits of stream '{name}'"):
            await target(placed(2, "a"))
    await client.close()


async def test_a_redis_stream_keeps_about_as_many_entries_as_it_may(valkey_url: str) -> None:
    async with redis_stream(valkey_url, "structured", entries_max=100) as there:
        async with anyio.create_task_group() as group:
            for number in range(1_000):
                group.start_soon(there.target, placed(number, "a"))
        assert 100 <= len(await there.arrived()) <= 300


@pytest.mark.parametrize(("name", "slot_of"), [("orders", "orders"), ("{shop}orders", "shop"), ("a{b}c{d}", "b")])
async def test_a_redis_stream_and_its_marks_share_a_node(valkey_cluster: str, name: str, slot_of: str) -> None:
    stream = f"{name}/{unique('s')}" if slot_of != "orders" else unique("orders")
    async with RedisBackend.from_url(valkey_cluster, cluster=True, timeout_s=PATIENCE_S) as backend:
        target = backend.stream_target(stream)
        await target(placed(1, "a"))
        await target(placed(1, "a"))
    async with redis.asyncio.RedisCluster.from_url(valkey_cluster) as client:
        assert await client.xlen(stream) == 1


async def test_a_stream_whose_marks_would_lie_elsewhere_is_refused(valkey_url: str) -> None:
    async with RedisBackend.from_url(valkey_url) as backend:
        with pytest.raises(ValueError, match="must not have a '}'"):
            await backend.stream_target("a}b")(placed(1, "a"))


def test_targets_are_checked_where_they_are_built(tmp_path: Path) -> None:
    outbox = Outbox("orders", backend=SQLBackend.from_url(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}"))
    queue = MemoryBackend().queue("orders")
    with pytest.raises(TypeError, match="need one runtime"):
        Relay(outbox, RedisBackend.from_url("redis://localhost", blocking=True).stream_target("orders"))
    with pytest.raises(ValueError, match="mode must be one of"):
        QueueTarget(queue, mode="loose")  # type: ignore[arg-type]
    assert Relay(outbox, QueueTarget(queue)).handler is not None
