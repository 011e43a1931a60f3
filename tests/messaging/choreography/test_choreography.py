"""A choreography of three services: in SQL each effect is there once; elsewhere each turn has the same key."""

from __future__ import annotations

import dataclasses
import inspect
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.backends.nats import NatsBackend
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.messaging.choreography import Choreography, ChoreographyService, EventTurn
from sdpatterns.messaging.consumer import Redelivery
from sdpatterns.messaging.outbox import Outbox, Relay
from sdpatterns.messaging.schema import EventSchema, EventType
from tests.backends.everywhere import opened, unique

pytestmark = pytest.mark.anyio

PATIENCE_S = 120.0
QUICK = Redelivery(attempts_max=3, base_s=0.01, max_s=0.02)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclasses.dataclass(frozen=True)
class Placed:
    order: str
    price: Decimal


@dataclasses.dataclass(frozen=True)
class Reserved:
    order: str
    price: Decimal


@dataclasses.dataclass(frozen=True)
class Paid:
    order: str


SCHEMA = EventSchema(
    EventType("order.placed", Placed), EventType("stock.reserved", Reserved), EventType("order.paid", Paid)
)


class World:
    """Three services on one database, with a table of their effects."""

    def __init__(
        self, backend: SQLBackend, engine: AsyncEngine, table: str, outbox: Outbox | None = None, bus: Any = None
    ) -> None:
        self.backend = backend
        self.engine = engine
        self.table = table
        self.turns: Counter[str] = Counter()
        self.faults: dict[str, list[Exception]] = {}
        self.done = anyio.Event()
        self.shop: Choreography[AsyncSession] = Choreography(
            unique("shop"), backend=bus or backend, schema=SCHEMA, transaction=self.begin, outbox=outbox
        )
        self.shop.on(Placed, by="stock", publishes=(Reserved,))(self.reserve)
        self.shop.on(Reserved, by="payments", publishes=(Paid,))(self.charge)
        self.shop.on(Paid, by="mail")(self.thank)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[tuple[AsyncSession, Any]]:
        async with AsyncSession(self.engine) as session, session.begin():
            yield session, self.backend.within(session)
            # Behind the effect and the events that follow, before the commit.
            self.fail("commit")

    def fail(self, where: str) -> None:
        waiting = self.faults.get(where, [])
        if waiting:
            raise waiting.pop(0)

    async def note(self, what: str, turn: EventTurn[AsyncSession]) -> None:
        self.turns[what] += 1
        await turn.tx.execute(text(f"insert into {self.table} values (:what)"), {"what": what})

    async def reserve(self, event: Placed, turn: EventTurn[AsyncSession]) -> Reserved:
        await self.note(f"reserve {event.order}", turn)
        return Reserved(event.order, event.price)

    async def charge(self, event: Reserved, turn: EventTurn[AsyncSession]) -> list[Paid]:
        self.fail(f"charge {event.order}")
        await self.note(f"charge {event.order} {event.price}", turn)
        return [Paid(event.order)]

    async def thank(self, event: Paid, turn: EventTurn[AsyncSession]) -> None:
        await self.note(f"thank {event.order}", turn)
        if event.order == "last":
            self.done.set()

    async def effects(self) -> list[str]:
        async with self.engine.connect() as connection:
            return sorted((await connection.scalars(text(f"select what from {self.table}"))).all())

    async def is_idle(self) -> bool:
        queues = [self.shop.topic.queue, *map(self.shop.topic.queue_of, self.shop.services)]
        return all([(await queue.depth())[:3] == (0, 0, 0) for queue in queues])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for by in self.shop.services:
                await stack.enter_async_context(ChoreographyService(self.shop, by, redelivery=QUICK, concurrency=1))
            yield

    async def placed(self, *orders: str) -> None:
        for order in orders:
            await self.shop.publish(Placed(order, Decimal("9.50")), id=f"placed-{order}", subject=order)


Sql: TypeAlias = tuple[SQLBackend, AsyncEngine, str]


@pytest.fixture(params=["sqlite", "postgres"])
async def sql(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Sql]:
    url, table = f"sqlite+aiosqlite:///{tmp_path / 'shop.db'}", unique("effects").replace("-", "_")
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url").replace("://", "+asyncpg://")
    engine = create_async_engine(url, connect_args={"timeout": 60})
    async with SQLBackend.from_url(url, timeout_s=PATIENCE_S) as backend:
        await backend.create()
        async with engine.begin() as connection:
            await connection.execute(text(f"create table {table} (what text)"))
        yield backend, engine, table
    await engine.dispose()


@pytest.fixture
def world(sql: Sql) -> World:
    return World(*sql)


ALL_OF_LAST = ["charge last 9.50", "reserve last", "thank last"]


async def until(is_so: Callable[[], Any]) -> Any:
    """What it gives, as soon as that is true: another process would not tell either."""
    with anyio.fail_after(PATIENCE_S):
        while True:
            found = is_so()
            found = await found if inspect.isawaitable(found) else found
            if found:
                return found
            await anyio.sleep(0.02)


async def test_each_service_does_its_part_once_also_where_an_event_comes_twice(world: World) -> None:
    await world.placed("last")
    async with world.running():
        await until(lambda: world.turns["thank last"] == 1)
        await world.placed("last")
        await until(world.is_idle)
    assert await world.effects() == ALL_OF_LAST
    assert set(world.turns.values()) == {1}


async def test_a_crash_between_the_effect_and_what_follows_leaves_neither(world: World) -> None:
    world.faults["commit"] = [RuntimeError("the process is gone"), RuntimeError("and again")]
    await world.placed("last")
    async with world.running():
        await until(world.done.is_set)
        await until(lambda: world.turns["thank last"] == 1)
    assert await world.effects() == ALL_OF_LAST
    # It had its turn again, and nothing of the first ones was left.
    assert world.turns["reserve last"] == 3


async def test_nothing_is_published_where_the_effect_is_never_committed(world: World) -> None:
    world.faults["commit"] = [RuntimeError("the process is gone")] * 3
    await world.placed("last")
    async with world.running():
        await until(lambda: world.shop.topic.queue_of("stock").parked(10))
        await until(world.is_idle)
    assert world.turns == {"reserve last": 3}
    assert await world.effects() == []


async def test_an_event_that_always_fails_is_parked_and_the_others_go_on(world: World) -> None:
    world.faults["charge bad"] = [ValueError("no such card")] * 3
    await world.placed("bad", "last")
    async with world.running():
        await until(world.done.is_set)
        parked = await until(lambda: world.shop.topic.queue_of("payments").parked(10))
    assert parked[0].reason == "attempt 3 of 3: ValueError: no such card"
    assert await world.effects() == sorted([*ALL_OF_LAST, "reserve bad"])


@pytest.mark.parametrize("kind", ["memory", "valkey"])
async def test_events_go_to_another_backend_through_an_outbox(
    sql: Sql, request: pytest.FixtureRequest, kind: str, tmp_path: Path
) -> None:
    outbox = Outbox(unique("shop"), backend=sql[0])
    async with opened(request, kind, tmp_path) as bus:
        world = World(*sql, outbox=outbox, bus=bus)
        await world.placed("last")
        async with Relay(outbox, world.shop.topic.publish), world.running():
            await until(world.done.is_set)
            await world.placed("last")
            await until(world.is_idle)
    assert await world.effects() == ALL_OF_LAST
    assert set(world.turns.values()) == {1}


async def test_transactions_on_another_backend_need_an_outbox(sql: Sql) -> None:
    # Else what follows would be written to the database, and nothing takes it from there.
    with pytest.raises(ValueError, match=r"RedisBackend has no within\(session\): give an outbox"):
        World(*sql, bus=RedisBackend.from_url("redis://127.0.0.1:1"))
    with pytest.raises(TypeError, match="a topic needs a backend with queues, and NatsBackend has none"):
        World(*sql, outbox=Outbox("shop", backend=sql[0]), bus=NatsBackend("nats://127.0.0.1:1"))


@pytest.mark.parametrize("kind", ["memory", "valkey"])
async def test_without_transactions_a_turn_has_the_same_key_and_the_same_events_each_time(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path
) -> None:
    async with opened(request, kind, tmp_path) as backend:
        await each_turn_is_the_same(Choreography(unique("shop"), backend=backend, schema=SCHEMA))


async def each_turn_is_the_same(shop: Choreography[None]) -> None:
    keys: list[str] = []
    arrived: list[str] = []

    @shop.on(Placed, by="stock", publishes=(Reserved,))
    async def reserve(event: Placed, turn: EventTurn[None]) -> Reserved | None:
        assert turn.tx is None
        keys.append(turn.idempotency_key)
        return Reserved(event.order, event.price)

    @shop.on(Reserved, by="payments")
    async def charge(event: Reserved, turn: EventTurn[None]) -> None:
        arrived.append(turn.cause.identity)
        if len(keys) == 1:
            await shop.publish(Placed("1", Decimal(1)), id="a", subject="1")

    async with ChoreographyService(shop, "stock"), ChoreographyService(shop, "payments"):
        await shop.publish(Placed("1", Decimal(1)), id="a", subject="1")
        await until(lambda: len(arrived) == 2)
    assert len(set(keys)) == 1
    assert len(set(arrived)) == 1


async def test_an_event_that_was_not_declared_is_not_published() -> None:
    shop: Choreography[None] = Choreography("shop", backend=MemoryBackend(), schema=SCHEMA)

    @shop.on(Placed, by="stock")
    async def reserve(event: Placed, turn: EventTurn[None]) -> Paid:
        return Paid(event.order)

    async with ChoreographyService(shop, "stock", redelivery=Redelivery(attempts_max=1)):
        await shop.publish(Placed("1", Decimal(1)), id="a")
        parked = await until(lambda: shop.topic.queue_of("stock").parked(1))
    assert parked[0].reason == "attempt 1 of 1: TypeError: reserve publishes nothing, and returned Paid"


async def test_a_service_of_an_incomplete_choreography_is_refused() -> None:
    shop: Choreography[None] = Choreography("shop", backend=MemoryBackend(), schema=SCHEMA)

    @shop.on(Placed, by="stock", publishes=(Reserved,))
    async def reserve(event: Placed, turn: EventTurn[None]) -> Reserved:
        return Reserved(event.order, event.price)

    with pytest.raises(ValueError, match=r"stock: reserve publishes 'stock\.reserved', and nothing handles it"):
        ChoreographyService(shop, "stock")
    with pytest.raises(ValueError, match="two handlers 'reserve'"):
        shop.on(Paid, by="stock")(reserve)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="int is no event of this schema"):
        shop.on(int, by="stock")
    with pytest.raises(TypeError, match="a handler is an async function"):
        shop.on(Paid, by="stock")(lambda event, turn: None)  # type: ignore[arg-type, return-value]
    with pytest.raises(ValueError, match="outbox needs a transaction"):
        Choreography("x", backend=MemoryBackend(), schema=SCHEMA, outbox=object())  # type: ignore[arg-type]
    ended: Choreography[None] = Choreography("shop", backend=MemoryBackend(), schema=SCHEMA, ends=[Reserved])
    ended.on(Placed, by="stock", publishes=(Reserved,))(reserve)
    ended.check()
    assert ended.diagram()[-1] == "  h0 --> e1"
    with pytest.raises(ValueError, match="has no handlers of 'mail'"):
        ChoreographyService(ended, "mail")
