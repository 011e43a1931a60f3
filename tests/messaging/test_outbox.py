"""An event is published if, and only if, its transaction commits; in order for each subject; and taken once."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.core.notices import Notice, listen
from sdpatterns.core.tracing import trace_with
from sdpatterns.messaging.cloudevents import CloudEvent
from sdpatterns.messaging.consumer import Redelivery
from sdpatterns.messaging.inbox import Inbox
from sdpatterns.messaging.outbox import EventParked, EventPublished, EventRequeued, Outbox, Relay
from sdpatterns.observability.recording import RecordingTracer, SpanStore
from tests.backends.everywhere import unique
from tests.messaging.outbox_world import Arrived, World, outbox_world

world = outbox_world

pytestmark = pytest.mark.anyio

QUICK = Redelivery(attempts_max=3, backoff="constant", base_s=0, max_s=0)


@pytest.fixture
def heard() -> Iterator[list[Notice]]:
    notices: list[Notice] = []
    with listen(notices.append):
        yield notices


async def test_an_event_comes_with_the_commit_and_not_with_a_rollback(world: World) -> None:
    async with AsyncSession(world.engine) as session:
        await world.write(session, "never")
        await world.publish(session, "never", "o-0")
        await session.rollback()
    await world.order("first", "o-1")
    arrived = Arrived(1)
    async with Relay(world.outbox, arrived):
        assert await arrived.wait() == ["first"]
    assert await world.names() == ["first"]
    [event] = arrived.events
    assert (event.source, event.type, event.subject) == ("/orders", "order.placed", "o-1")


async def test_events_of_one_subject_arrive_in_order_through_several_relays(world: World) -> None:
    for number in range(8):
        await world.order(f"{number}", "o-1", "o-2")
    arrived = Arrived(16)
    async with Relay(world.outbox, arrived), Relay(world.outbox, arrived):
        await arrived.wait()
    for subject in ("o-1", "o-2"):
        assert [it.data["name"] for it in arrived.events if it.subject == subject] == [f"{n}" for n in range(8)]


async def test_the_span_of_an_event_names_the_service_of_its_relay(world: World) -> None:
    await world.order("first", "o-1")
    arrived, store = Arrived(1), SpanStore()
    with trace_with(RecordingTracer(store)):
        async with Relay(world.outbox, arrived, service="ordering"):
            await arrived.wait()
    found = {(span.name, span.service) for trace in store.recent(50) for span in store.spans(trace.trace_id)}
    assert ("publish order.placed", "ordering") in found


async def test_an_event_that_fails_holds_up_its_subject_alone(world: World, heard: list[Notice]) -> None:
    await world.order("1", "o-1")
    await world.order("2", "o-1")
    await world.order("3", "o-2")
    arrived = Arrived(3, failures={"1": 2})
    async with Relay(world.outbox, arrived, redelivery=QUICK):
        names = await arrived.wait()
    assert names.index("1") < names.index("2")
    assert len([notice for notice in heard if isinstance(notice, EventRequeued)]) == 2
    assert len([notice for notice in heard if isinstance(notice, EventPublished)]) == 3


async def test_an_event_that_fails_for_good_is_parked_and_the_next_one_goes_on(
    world: World, heard: list[Notice]
) -> None:
    await world.order("1", "o-1")
    await world.order("2", "o-1")
    arrived = Arrived(1, failures={"1": 3})
    async with Relay(world.outbox, arrived, redelivery=QUICK):
        assert await arrived.wait() == ["2"]
    [letter] = await world.outbox.queue.parked(10)
    assert CloudEvent.from_structured(letter.payload).data == {"name": "1"}
    assert [notice.reason for notice in heard if isinstance(notice, EventParked)] == [letter.reason]
    assert await world.outbox.queue.redrive([letter.id]) == [True]
    again = Arrived(1)
    async with Relay(world.outbox, again):
        assert await again.wait() == ["1"]


async def test_a_relay_that_runs_is_woken_by_a_commit(world: World) -> None:
    arrived = Arrived(1)
    # Woken, because it looks by itself once an hour.
    async with Relay(world.outbox, arrived, poll_s=3600):
        await world.order("woken", "o-1")
        assert await arrived.wait() == ["woken"]


async def test_a_delivery_that_comes_twice_has_its_effect_once(world: World) -> None:
    inbox, event = Inbox(unique("inbox")), CloudEvent(id="e-1", source="/x", type="y")

    async def receive(*, fails: bool = False) -> bool:
        async with AsyncSession(world.engine) as session, session.begin():
            is_new = await inbox.is_new(event.id, within=world.backend.within(session))
            if is_new:
                await world.write(session, "effect")
            if fails:
                raise ArithmeticError("rolled back")
        return is_new

    with pytest.raises(ArithmeticError):
        await receive(fails=True)
    assert [await receive(), await receive(), await receive()] == [True, False, False]
    assert await world.names() == ["effect"]
    world.backend.shift(8 * 86_400.0)
    assert await receive()


async def test_two_deliveries_at_the_same_time_have_one_effect(world: World) -> None:
    inbox, answers = Inbox(unique("inbox")), list[bool]()

    async def receive() -> None:
        async with AsyncSession(world.engine) as session, session.begin():
            is_new = await inbox.is_new("e-1", within=world.backend.within(session))
            if is_new:
                await world.write(session, "effect")
            answers.append(is_new)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(receive)
    assert sorted(answers) == [False] * 4 + [True]
    assert await world.names() == ["effect"]


def test_an_outbox_without_transactions_is_refused_where_it_is_built() -> None:
    with pytest.raises(TypeError, match="needs a queue with transaction"):
        Outbox("orders", backend=MemoryBackend())
