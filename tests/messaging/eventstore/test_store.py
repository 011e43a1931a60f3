"""Events are read as they were appended, commands decide on all events of their stream, snapshots change no answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.blocking import blocking
from sdpatterns.core.context import correlation_id, with_deadline
from sdpatterns.core.notices import Notice, listen
from sdpatterns.core.runtime import finish
from sdpatterns.errors import BackendUnavailable, CodecError, EventsTrimmed, OutcomeUnknown, VersionConflict
from sdpatterns.messaging.eventstore import Aggregate, EventStore
from sdpatterns.messaging.eventstore.notices import EventsAppended, SnapshotNotKept
from sdpatterns.messaging.schema import EventSchema, EventType
from sdpatterns.ports.log import ANY, NewEvent, RecordedEvent
from tests.messaging.eventstore.shop_events import (
    ORDERS,
    SCHEMA,
    Cipher,
    Named,
    Order,
    Paid,
    Pay,
    Place,
    Placed,
    Refused,
    decide,
    evolve,
)  # fmt: skip

pytestmark = pytest.mark.anyio


def store(backend: Any = None, **settings: Any) -> EventStore:
    made = {"schema": SCHEMA, "cipher": Cipher(is_async=False)} | settings
    return EventStore("shop", backend=backend or MemoryBackend(), **made)


async def test_events_come_back_with_their_place_and_where_they_come_from() -> None:
    events = store()
    token = correlation_id.set("basket-7")
    assert await events.append("order/1", 0, [Placed("1", 5), Paid(2)], tenant="t", metadata={"by": "me"}) == (2, 2)
    correlation_id.reset(token)
    history = await events.load("order/1")
    [placed, paid] = history.events
    assert (history.version, placed.event, paid.event) == (2, Placed("1", 5), Paid(2))
    assert (placed.stream, placed.version, placed.position, placed.tenant) == ("order/1", 1, 1, "t")
    assert (placed.correlation_id, placed.causation_id, placed.metadata["by"]) == ("basket-7", None, "me")
    await events.append("mail/1", 0, [Paid(1)], caused_by=placed)
    await events.append("mail/2", ANY, [Paid(1)], caused_by=(await events.load("mail/1")).events[0])
    second, third = (await events.read_all(2)).events
    assert (second.causation_id, second.correlation_id, second.tenant) == (placed.id, "basket-7", "t")
    assert (third.causation_id, third.correlation_id) == (second.id, "basket-7")
    with pytest.raises(VersionConflict):
        await events.append("order/1", 1, [Paid(1)])
    with pytest.raises(ValueError, match="ids must have one for each of 1 events"):
        await events.append("order/1", 2, [Paid(1)], ids=[])


async def test_a_stream_of_several_pages_is_read_whole() -> None:
    events = store()
    for _ in range(3):
        await events.append("order/1", ANY, [Paid(1)] * 700)
    assert [it.version for it in (await events.load("order/1")).events] == list(range(1, 2_101))
    assert len((await events.load("order/1", 2_000)).events) == 100


PAID = NewEvent(id="", type="paid", data=b'1:{"cents":1}', metadata={"schema-version": "1"})


class Race(MemoryBackend):
    """Lets another writer come first, or loses replies, a number of times."""

    def __init__(self, error: Exception | None = None, *, times: int = 1, happens: bool = True) -> None:
        super().__init__()
        self.error, self.left, self.happens = error, times, happens

    def log(self, name: str, /, *args: Any) -> Any:
        log, outer = super().log(name, *args), self
        append = type(log).append.__get__(log)

        async def raced(stream: str, expected: Any, events: Sequence[NewEvent], /) -> Any:
            if expected is ANY or outer.left == 0:
                return await append(stream, expected, events)
            outer.left -= 1
            if outer.error is None:
                await append(stream, ANY, [dataclasses.replace(PAID, id=f"other-{outer.left}")])
                return await append(stream, expected, events)
            if outer.happens:
                await append(stream, expected, events)
            raise outer.error

        log.append = raced
        return log


async def test_a_command_that_another_one_overtakes_decides_again_on_its_events() -> None:
    events, notices = store(backend := Race(times=0)), list[Notice]()
    await events.run(ORDERS, "1", Place(10))
    backend.left = 3
    with listen(notices.append):
        decided = await events.run(ORDERS, "1", Pay(7))
    assert (decided.state, decided.events, decided.version) == (Order(0), (Paid(7),), 5)
    assert [(it.attempts, it.events) for it in notices if isinstance(it, EventsAppended)] == [(4, 1)]
    backend.left = 1
    await events.run(ORDERS, "1", Place(1))
    backend.left = 1
    # One is open and the other command takes it.
    with pytest.raises(Refused, match="0 are open"):
        await events.run(ORDERS, "1", Pay(1))


async def test_conflicts_end_at_the_bound_or_at_the_deadline() -> None:
    backend = Race(times=1_000)
    with pytest.raises(VersionConflict):
        await store(backend, attempts_max=3).run(ORDERS, "1", Place(1))
    assert backend.left == 997
    with with_deadline(0), pytest.raises(VersionConflict):
        await store(backend).run(ORDERS, "1", Place(1))
    assert backend.left == 996


@pytest.mark.parametrize("happens", [True, False])
async def test_a_lost_reply_neither_loses_nor_doubles_the_events_of_a_command(happens: bool) -> None:
    events = store(Race(OutcomeUnknown("lost"), times=2, happens=happens))
    assert (await events.run(ORDERS, "1", Place(5))).version == 1
    assert (await events.state(ORDERS, "1")) == (Order(5), 1, 1)


async def test_a_command_without_events_and_one_that_is_refused_store_nothing() -> None:
    events = store()
    await events.run(ORDERS, "1", Place(5))
    assert await events.run(ORDERS, "1", Pay(0)) == (Order(5), (), 1, 1)
    with pytest.raises(Refused):
        await events.run(ORDERS, "1", Pay(6))
    assert (await events.load("order/1")).version == 1
    assert await events.state(ORDERS, "none") == (Order(), 0, 0)


@settings(max_examples=25)
@given(st.lists(st.sampled_from([Place(3), Pay(1), Pay(2), Named("c", "Ada")]), max_size=12), st.integers(1, 4))
def test_snapshots_change_no_answer(commands: list[Any], every: int) -> None:
    async def played(aggregate: Any) -> list[Any]:
        events, answers = store(), list[Any]()
        for command in commands:
            try:
                answers.append(await events.run(aggregate, "1", command))
            except Refused as refusal:
                answers.append(str(refusal))
            answers.append(await events.state(aggregate, "1"))
        return answers

    with_snapshots = dataclasses.replace(ORDERS, snapshot_every=every)
    assert finish(played(with_snapshots)) == finish(played(ORDERS))


def counted(version: int, every: int = 2) -> tuple[Any, list[Any]]:
    """The aggregate with snapshots of a version, and the events that it was given."""
    seen: list[Any] = []

    def see(state: Order, event: Any) -> Order:
        seen.append(event)
        return evolve(state, event)

    return Aggregate(
        name="order", initial=Order(), decide=decide, evolve=see, snapshot_every=every, snapshot_version=version
    ), seen


async def test_a_snapshot_saves_reading_and_one_of_another_version_is_not_read() -> None:
    events = store()
    one, seen = counted(1)
    for _ in range(5):
        await events.run(one, "1", Place(1))
    seen.clear()
    assert await events.state(one, "1") == (Order(5), 5, 5)
    assert len(seen) == 1
    two, seen = counted(2)
    assert await events.state(two, "1") == (Order(5), 5, 5)
    assert len(seen) == 5


async def test_a_snapshot_ahead_of_its_stream_or_unreadable_is_not_used_and_the_command_goes_on() -> None:
    backend, (one, _), notices = MemoryBackend(), counted(1, every=1), list[Notice]()
    for _ in range(3):
        await store(backend).run(one, "1", Place(1))

    restored = store(backend)
    restored.log = MemoryBackend().log("shop")
    await restored.append("order/1", 0, [Placed("1", 7)])
    assert await restored.state(one, "1") == (Order(7), 1, 1)
    other: Any = dataclasses.replace(one, initial=Named("c", "Ada"), decide=no_events, evolve=first)
    with listen(notices.append):
        assert (await store(backend).run(other, "1", None)).state == Named("c", "Ada")
    [told] = notices
    assert isinstance(told, SnapshotNotKept)
    assert "missing 2 required positional arguments" in told.reason


def no_events(state: Any, command: Any) -> list[Any]:
    return []


def first(state: Any, event: Any) -> Any:
    return state


async def test_a_store_of_snapshots_that_is_away_fails_no_command() -> None:
    events, notices = store(), list[Notice]()
    one, _ = counted(1, every=1)

    async def away(*_: Any) -> Any:
        raise BackendUnavailable("away")

    events._rehydration._cells = type("Away", (), {"read": away, "transact": away})()  # type: ignore[assignment]
    with listen(notices.append):
        for _ in range(2):
            await events.run(one, "1", Place(1))
    assert (await events.state(ORDERS, "1")).state == Order(2)
    assert {it.reason for it in notices if isinstance(it, SnapshotNotKept)} == {"BackendUnavailable: away"}


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_subject_whose_key_is_gone_is_unreadable_everywhere_and_nothing_else_is(is_async: bool) -> None:
    backend, cipher = MemoryBackend(), Cipher(is_async=is_async)
    events = store(backend, cipher=cipher)
    one, _ = counted(1, every=1)
    await events.run(one, "1", Named("c-1", "Ada", "Paris"))
    await events.run(one, "2", Named("c-2", "Eve"))
    await events.run(one, "1", Place(5))
    raw = [it.data for it in (await events.log.read("order/1")).events]
    assert b"Ada" not in raw[0]
    assert b"c-1" in raw[0]
    assert (await events.state(one, "1")).state == Order(5, ("Ada",))
    cipher.forget("c-1")
    first, second, third = (await events.read_all()).events
    assert (first.event, first.subject, first.is_shredded) == (Named("c-1", "(deleted)"), "c-1", True)
    assert (second.event, second.is_shredded) == (Named("c-2", "Eve"), False)
    assert (third.event, third.subject) == (Placed("o", 5), None)
    # The snapshot of the state is as unreadable as the events, and no later one asks for the key.
    assert (await events.state(one, "1")).state == Order(5, ("(deleted)",))
    await events.run(one, "1", Pay(1))
    assert (await events.state(one, "1")).state == Order(4, ("(deleted)",))


async def test_a_state_with_the_data_of_two_subjects_gets_no_snapshot() -> None:
    events = store(cipher=(cipher := Cipher(is_async=False)))
    one, seen = counted(1, every=1)
    await events.run(one, "1", Named("c-1", "Ada"))
    await events.run(one, "1", Named("c-2", "Eve"))
    cipher.forget("c-2")
    seen.clear()
    assert (await events.state(one, "1")).state == Order(0, ("Ada", "(deleted)"))


async def test_a_store_without_the_cipher_says_so() -> None:
    backend = MemoryBackend()
    await store(backend).append("order/1", 0, [Named("c-1", "Ada")])
    with pytest.raises(ValueError, match="'shop' needs a cipher for the personal fields of named"):
        store(backend, cipher=None)
    plain = EventSchema(EventType("named", Named))
    with pytest.raises(CodecError, match="the personal data of 'c-1' is encrypted"):
        await store(backend, cipher=None, schema=plain).load("order/1")


async def test_events_that_no_event_store_wrote_are_refused() -> None:
    events = store()
    await events.log.append("order/1", 0, [NewEvent(id="1", type="paid", data=b"1:{}")])
    with pytest.raises(CodecError, match="was not written by an event store"):
        await events.load("order/1")


@pytest.mark.parametrize("is_async", [False, True])
async def test_what_is_dropped_goes_to_the_archive_first_and_the_stream_goes_on(is_async: bool) -> None:
    events, kept = store(), list[RecordedEvent]()
    one, _ = counted(1, every=1)

    async def later(page: Sequence[RecordedEvent]) -> None:
        kept.extend(page)

    hook: Any = later if is_async else kept.extend
    for _ in range(6):
        await events.run(one, "1", Place(1))
    assert await events.archive("order/1", 3, to=hook) == 2
    assert await events.archive("order/1", 5, to=hook) == 2
    assert await events.archive("order/1", 6) == 1
    assert [it.version for it in kept] == [1, 2, 3, 4]
    assert (await events.run(one, "1", Place(1)))[2] == 7
    assert (await events.state(one, "1")).state == Order(7)
    with pytest.raises(EventsTrimmed):
        await events.state(ORDERS, "1")
    await events.append("order/2", 0, [Placed("2", 1)])
    assert await events.trim(8, to=hook) == 2
    assert [it.version for it in kept] == [1, 2, 3, 4, 6, 7]


def test_an_event_store_works_without_a_loop() -> None:
    door = blocking(store())
    assert door.run(ORDERS, "1", Place(5)).state == Order(5)
    assert [it.event for it in door.load("order/1").events] == [Placed("o", 5)]
    assert door.state(ORDERS, "1").version == 1


def test_what_cannot_work_is_refused_when_it_is_built() -> None:
    with pytest.raises(TypeError, match="needs a backend with logs, and object has none"):
        store(object())
    with pytest.raises(TypeError, match="object cannot be stored"):
        Aggregate(name="it", initial=object(), decide=lambda s, c: [], evolve=lambda s, e: s, snapshot_every=1)
    assert repr(store()) == "<EventStore 'shop'>"


async def test_many_commands_on_one_aggregate_at_once_lose_no_event() -> None:
    events = store()
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(events.run, ORDERS, "1", Place(1))
    assert (await events.state(ORDERS, "1"))[:2] == (Order(20), 20)
