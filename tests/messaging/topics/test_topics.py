"""Each group of a topic gets each event, its subscribers share them, and none is left out by a failure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.context import correlation_id
from sdpatterns.core.notices import Notice, listen
from sdpatterns.core.runtime import finish
from sdpatterns.errors import BackendUnavailable, OutcomeUnknown
from sdpatterns.messaging.cloudevents import CloudEvent
from sdpatterns.messaging.consumer import Redelivery
from sdpatterns.messaging.consumer.notices import EventHandled, EventParked
from sdpatterns.messaging.topics import Subscriber, Topic
from sdpatterns.messaging.topics.decision import GROUPS_MAX
from sdpatterns.ports.queue import Message
from tests.backends.everywhere import PATIENCE_S, each_backend_with_queues, opened, unique

backend = each_backend_with_queues
pytestmark = pytest.mark.anyio

QUICK = Redelivery(attempts_max=2, backoff="constant", base_s=0, max_s=0)


class Group:
    """Keeps what its subscribers get."""

    def __init__(self, name: str, expected: int) -> None:
        self.name = name
        self.events: list[CloudEvent] = []
        self._expected = expected
        self._all = anyio.Event()

    async def take(self, event: CloudEvent) -> None:
        self.events.append(event)
        if len({it.id for it in self.events}) >= self._expected:
            self._all.set()

    async def ids(self, subject: str | None = None) -> list[str]:
        with anyio.fail_after(PATIENCE_S):
            await self._all.wait()
        return [event.id for event in self.events if subject in {None, event.subject}]


def placed(number: int, subject: str = "o-1") -> CloudEvent:
    return CloudEvent(id=f"{subject}/{number}", source="/orders", type="order.placed", subject=subject)


async def test_each_group_gets_each_event_once_in_order_and_its_subscribers_share_them(backend: Any) -> None:
    topic = Topic(unique("orders"), backend=backend)
    mail, stock = Group("mail", 12), Group("stock", 12)
    await topic.join("stock")
    events = [placed(number, subject) for number in range(4) for subject in ("a", "b", "c")]
    async with Subscriber(topic, "mail", mail.take), Subscriber(topic, "mail", mail.take):
        for event in events:
            await topic.publish(event)
        # It has joined, so that what is published now waits for its first subscriber.
        assert len(await mail.ids()) == 12
        async with Subscriber(topic, "stock", stock.take):
            assert len(await stock.ids()) == 12
    for group in (mail, stock):
        for subject in ("a", "b", "c"):
            assert await group.ids(subject) == [f"{subject}/{number}" for number in range(4)]
    for queue in (topic.queue, topic.queue_of("mail"), topic.queue_of("stock")):
        assert (await queue.depth())[:4] == (0, 0, 0, 0)


async def test_events_wait_for_the_first_group_and_a_group_that_left_gets_no_more(backend: Any) -> None:
    topic, first = Topic(unique("orders"), backend=backend), Group("first", 2)
    await topic.join("gone")
    await topic.leave("gone")
    await topic.publish(placed(1), placed(2))
    async with Subscriber(topic, "first", first.take):
        assert await first.ids() == ["o-1/1", "o-1/2"]
    assert await topic.groups() == ("first",)
    assert (await topic.queue_of("gone").depth()).due == 0


async def test_an_event_that_one_group_cannot_take_holds_up_no_other(backend: Any) -> None:
    topic, fine = Topic(unique("orders"), backend=backend), Group("fine", 2)
    await topic.join("fine")
    notices: list[Notice] = []

    def refuse(event: CloudEvent) -> None:
        raise ArithmeticError(event.id)

    with listen(notices.append):
        async with Subscriber(topic, "odd", refuse, redelivery=QUICK), Subscriber(topic, "fine", fine.take):
            await topic.publish(placed(1), placed(2))
            assert await fine.ids() == ["o-1/1", "o-1/2"]
            with anyio.fail_after(PATIENCE_S):
                while len(letters := await topic.queue_of("odd").parked(10)) < 2:  # noqa: ASYNC110 - it has no event
                    await anyio.sleep(0.01)
    assert [CloudEvent.from_structured(letter.payload).id for letter in letters] == ["o-1/1", "o-1/2"]
    assert {notice.name for notice in notices if isinstance(notice, EventParked)} == {f"{topic.name}/odd"}
    assert len([notice for notice in notices if isinstance(notice, EventHandled)]) == 2


class HalfAway(MemoryBackend):
    """Fails the first publishing to a group `b`: before it happens, or after."""

    def __init__(self, error: Exception, *, happens: bool) -> None:
        super().__init__()
        self.error, self.happens, self.has_failed = error, happens, False

    def queue(self, name: str, /, *args: Any) -> Any:
        queue, outer = super().queue(name, *args), self
        publish = queue.publish

        async def half(messages: Sequence[Message], /) -> Sequence[bool]:
            fails = name.endswith("/b") and not outer.has_failed
            outer.has_failed = outer.has_failed or fails
            answers = await publish(messages) if outer.happens or not fails else ()
            if fails:
                raise outer.error
            return answers

        queue.publish = half  # type: ignore[method-assign]
        return queue


@pytest.mark.parametrize(
    ("error", "happens"),
    [(BackendUnavailable("away"), False), (OutcomeUnknown("lost"), True)],
    ids=["away", "reply lost"],
)
async def test_no_group_is_left_out_where_spreading_fails_between_two(error: Exception, happens: bool) -> None:
    topic = Topic("orders", backend=HalfAway(error, happens=happens))
    groups = [Group(name, 3) for name in "abc"]
    for group in groups:
        await topic.join(group.name)
    await topic.publish(placed(1), placed(2), placed(3))
    [a, b, c] = groups
    async with (
        Subscriber(topic, "a", a.take, poll_s=0.05),
        Subscriber(topic, "b", b.take),
        Subscriber(topic, "c", c.take),
    ):
        for group in groups:
            # It may come twice, and never behind the next one of its subject.
            assert list(dict.fromkeys(await group.ids())) == ["o-1/1", "o-1/2", "o-1/3"]


async def test_an_event_of_a_transaction_comes_with_its_commit(request: Any, tmp_path: Path) -> None:
    async with opened(request, "sqlite", tmp_path) as backend:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'keys.db'}")
        topic, group = Topic("orders", backend=backend), Group("mail", 1)
        async with Subscriber(topic, "mail", group.take, poll_s=3600):
            async with AsyncSession(engine) as session:
                await topic.publish(placed(1), within=backend.within(session))
                await session.rollback()
            async with AsyncSession(engine) as session, session.begin():
                await topic.publish(placed(2), within=backend.within(session))
            assert await group.ids() == ["o-1/2"]
        await engine.dispose()


async def test_the_correlation_reaches_every_group() -> None:
    topic, seen = Topic("orders", backend=MemoryBackend()), list[str | None]()
    arrived = anyio.Event()

    async def take(event: CloudEvent) -> None:
        seen.append(correlation_id.get())
        arrived.set()

    token = correlation_id.set("basket-7")
    await topic.publish(placed(1))
    correlation_id.reset(token)
    async with Subscriber(topic, "mail", take):
        with anyio.fail_after(PATIENCE_S):
            await arrived.wait()
    assert seen == ["basket-7"]


async def test_a_topic_has_a_bounded_number_of_groups() -> None:
    topic = Topic("orders", backend=MemoryBackend())
    for number in range(GROUPS_MAX):
        await topic.join(f"{number}")
    await topic.join("0")
    with pytest.raises(ValueError, match="has 100 groups already"):
        await topic.join("one too many")


def test_subscribers_run_without_a_loop() -> None:
    topic, seen = Topic("orders", backend=MemoryBackend()), list[str]()

    async def play() -> None:
        async with (
            Subscriber(topic, "a", lambda event: seen.append(f"a {event.id}"), poll_s=0.05),
            Subscriber(topic, "b", lambda event: seen.append(f"b {event.id}"), poll_s=0.05),
        ):
            while len(await topic.groups()) < 2:
                pass
            await topic.publish(placed(1))
            async with topic.signals.subscribe(topic.queue.topic) as heard:
                while len(seen) < 2:
                    await heard.wait(0.01)

    finish(play())
    assert sorted(seen) == ["a o-1/1", "b o-1/1"]
