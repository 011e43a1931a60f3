"""What type checkers must find where work is published: jobs, sagas and their steps, on each kind of store.

Checked, never run: see `async_door.py`.
"""

# pyright: strict

import dataclasses
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, assert_type

from sqlalchemy.ext.asyncio import AsyncSession

from sdpatterns import Jobs, Sagas, SagaWorker, Worker
from sdpatterns.backends.memory import MemoryBackend
from sdpatterns.backends.redis import RedisBackend
from sdpatterns.backends.sqlalchemy import SQLBackend
from sdpatterns.backends.sqlalchemy.within import SQLView
from sdpatterns.messaging.choreography import Choreography, ChoreographyService, EventTurn
from sdpatterns.messaging.jobs import JobHandle
from sdpatterns.messaging.saga import SagaBackend, SagaHandle, SagaRun, SagaTable, TableStep
from sdpatterns.messaging.schema import EventSchema, EventType

sql = SQLBackend.from_url("postgresql+asyncpg://localhost/shop")
backends: list[SagaBackend] = [MemoryBackend(), RedisBackend.from_url("redis://localhost:6379"), sql]
jobs = Jobs("mail", backend=sql)
sagas = Sagas("orders", backend=sql)
workers = [Worker(jobs), SagaWorker(sagas)]


@jobs.job(attempts_max=3)
async def send(to: str, copies: int = 1) -> int:
    return copies


async def reserve(article: str, count: int) -> str:
    return article * count


async def release(reservation: str) -> None: ...


async def refund(cents: int) -> None: ...


@sagas.saga(give_up_on=(ValueError,))
async def place_order(run: SagaRun, article: str, *, cents: int) -> tuple[str, int]:
    reservation = await run.step("reserve", reserve, article, 2, undo=release)
    assert_type(reservation, str)
    await run.step("reserve", reserve, article)  # type: ignore[arg-type]
    await run.step("reserve", reserve, article, 2, undo=refund)  # type: ignore[misc]
    both = await run.parallel(run.step("a", reserve, article, 1), run.sleep("b", 5))
    assert_type(both, tuple[str, None])
    assert_type(await run.signal("approved", timeout_s=60), Any)
    assert_type(await run.child("again", place_order, article, cents=cents), tuple[str, int])
    return reservation, cents


@dataclasses.dataclass(frozen=True)
class Payment:
    cents: int


async def pay(payment: Payment) -> Payment:
    return payment


async def add(cents: int) -> int:
    return cents


rows = [TableStep("pay", pay, undo=print), TableStep("book", pay, is_pivot=True)]
pay_out = sagas.saga(give_up_on=(ValueError,))(SagaTable("pay_out", Payment, rows))
wrong_row: TableStep[Payment] = TableStep("add", add)  # type: ignore[arg-type]
TableStep("pay", pay, undo=release)  # type: ignore[misc]


@asynccontextmanager
async def begin() -> AsyncGenerator[tuple[AsyncSession, SQLView]]:
    async with AsyncSession() as session:
        yield session, sql.within(session)


flow = Choreography("shop", backend=sql, schema=EventSchema(EventType("paid", Payment)), transaction=begin)


@flow.on(Payment, by="mail")
async def thank(event: Payment, turn: EventTurn[AsyncSession]) -> None:
    assert_type(turn.tx, AsyncSession)


@flow.on(Payment, by="mail")  # type: ignore[arg-type]
async def thank_nobody(event: int, turn: EventTurn[AsyncSession]) -> None: ...


services = [ChoreographyService(flow, "mail")]


async def main() -> None:
    assert_type(await (await pay_out.start(Payment(7))).result(timeout_s=5), Payment)
    await pay_out.start(7)  # type: ignore[arg-type]
    handle = await send.enqueue("Ada", copies=2)
    assert_type(handle, JobHandle[int])
    await send.enqueue(7)  # type: ignore[arg-type]
    run = await place_order.options(id="order-1").start("lamp", cents=900)
    assert_type(run, SagaHandle[tuple[str, int]])
    assert_type(await run.result(timeout_s=5), tuple[str, int])
    assert_type(await sagas.record("order-1", to="journals"), list[Path])
    assert_type(await sagas.replay("journals"), list[Path])
    await sagas.record("order-1")  # type: ignore[call-arg]
    await place_order.start("lamp")  # type: ignore[call-arg]
    await place_order.within(sql.within(object())).start("lamp", cents=9)  # type: ignore[arg-type]
